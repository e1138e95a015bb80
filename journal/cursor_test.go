package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCursor(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1), reading(2), reading(3))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 3; seq++ {
		if err := j.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Ack(2); err != nil || j.Acked() != 3 {
		t.Errorf("the cursor went back to %d: %v", j.Acked(), err)
	}
	write(t, j, stop())
	finish(t, j)
	name := filepath.Join(b.Dir, cursorName)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(p []byte) []byte
		want   uint64
	}{
		"as it was":          {func(p []byte) []byte { return p }, 3},
		"newer slot torn":    {func(p []byte) []byte { p[3%2*page+20] ^= 1; return p }, 2},
		"both slots torn":    {func(p []byte) []byte { p[20] ^= 1; p[page+20] ^= 1; return p }, 0},
		"of another journal": {func([]byte) []byte { return append(cursorSlot(ID{9}, 3, 1), make([]byte, page)...) }, 0},
		"empty":              {func([]byte) []byte { return nil }, 0},
		"garbage":            {func([]byte) []byte { return []byte("garbage") }, 0},
	} {
		if err := os.WriteFile(name, c.change(append([]byte(nil), content...)), 0o600); err != nil {
			t.Fatal(err)
		}
		j := b.open(t)
		if j.Acked() != c.want {
			t.Errorf("%s: cursor %d, expected %d", what, j.Acked(), c.want)
		}
		write(t, j, stop())
		finish(t, j)
	}
}

// A card that refuses the cursor costs neither the older slot nor the next try.
func TestTheCursorCannotBeSaved(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1), reading(2), stop())
	for seq := uint64(1); seq <= 2; seq++ {
		if err := j.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(b.Dir, cursorName)
	before := readFile(t, name)
	again := refuse(t, unix.EIO)
	for range 3 {
		if err := j.Ack(3); !errors.Is(err, unix.EIO) {
			t.Errorf("Ack: %v", err)
		}
	}
	if j.Acked() != 3 {
		t.Errorf("cursor %d", j.Acked())
	}
	if newer := readFile(t, name)[:cursorBytes]; !bytes.Equal(newer, before[:cursorBytes]) {
		t.Error("the newer sound slot was written over")
	}
	again()
	if err := j.Ack(3); err != nil {
		t.Error(err)
	}
	finish(t, j)
	if _, seq, _ := readCursor(name); seq != 3 {
		t.Errorf("the card says %d", seq)
	}
}

func FuzzCursor(f *testing.F) {
	id := ID{1}
	f.Add(append(cursorSlot(id, 7, 1), cursorSlot(id, 8, 2)...))
	f.Add([]byte("edgecur"))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, seq, count := parseCursor(p)
		if (seq != 0 || count != 0) && len(p) < cursorBytes {
			t.Errorf("%d bytes say %d", len(p), seq)
		}
	})
}
