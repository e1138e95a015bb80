package journal

import (
	"os"
	"path/filepath"
	"testing"
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
