package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const simulated = `
device = "sim"
clock = "trust"
[journal]
dir = %q
sync = "50ms"
min_free = "1MiB"
[[source]]
name = "a"
kind = "simulate"
fields = ["temperature Cel"]
every = "10ms"
`

// fill runs edgeagg until it has so many readings, and stops it.
func fill(t *testing.T, conf, card string, readings int) {
	t.Helper()
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	until(t, 20*time.Second, "readings", func() bool { return len(cat(t, card)) >= readings })
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
}

func segments(t *testing.T, card string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(card, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	return names
}

// A journal whose last segment lost its end, or has zeros there: run starts,
// keeps every whole record, and says what is missing.
func TestStartOnATornOrZeroedTail(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	conf := config(t, simulated, card)
	fill(t, conf, card, 40)
	whole := cat(t, card)
	files := segments(t, card)
	last, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(last, "\x00")) // up to its page there are zeros
	damage := map[string]func([]byte) []byte{}
	for n := 1; n <= 300; n += 23 {
		damage[fmt.Sprintf("%d bytes cut", n)] = func(b []byte) []byte { return b[:used-n] }
		damage[fmt.Sprintf("%d bytes zeroed", n)] = func(b []byte) []byte {
			clear(b[used-n:])
			return b
		}
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			hurtCard := filepath.Join(t.TempDir(), "card")
			if err := os.CopyFS(hurtCard, os.DirFS(card)); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(hurt(bytes.Clone(last)), last) {
				return // the last bytes were zeros
			}
			file := filepath.Join(hurtCard, filepath.Base(files[len(files)-1]))
			if err := os.WriteFile(file, hurt(bytes.Clone(last)), 0o600); err != nil {
				t.Fatal(err)
			}
			fill(t, config(t, simulated, hurtCard), hurtCard, len(whole)+20)
			after := cat(t, hurtCard)
			k := 0
			for after[k].raw == whole[k].raw {
				k++
			}
			if lost := len(whole) - k; lost > 300/20 {
				t.Errorf("%d records lost with %s", lost, name)
			}
			if g := after[k].Gap; g == nil || g.Reason != "damage" || g.First != whole[k].Seq || g.Last < whole[len(whole)-1].Seq {
				t.Errorf("behind record %d stands %s", k, after[k].raw)
			}
			sameBooks(t, after, after)
			for _, x := range after[k:] {
				if x.Seq <= whole[len(whole)-1].Seq {
					t.Errorf("seq %d is used twice", x.Seq)
				}
			}
		})
	}
}

// verify tells a sound journal from one with a flipped bit, and where.
func TestVerifyFindsAFlippedBit(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	fill(t, config(t, simulated, card), card, 40)
	verify := func() (code int, b struct {
		Records, First, Last uint64
		Gaps                 []json.RawMessage
		Damage               []struct {
			File           string
			Offset, Length int64
		}
	}) {
		t.Helper()
		cmd := exec.Command(edgeagg, "verify", "--json", card)
		out, _ := cmd.Output()
		if err := json.Unmarshal(out, &b); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return cmd.ProcessState.ExitCode(), b
	}
	code, sound := verify()
	if code != 0 || sound.Records != sound.Last || sound.First != 1 || len(sound.Damage) != 0 {
		t.Fatalf("a sound journal: status %d, %+v", code, sound)
	}
	file := segments(t, card)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) / 2
	for b[at] == 0 {
		at--
	}
	b[at] ^= 0x10
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, hurt := verify()
	if code != 1 || len(hurt.Damage) != 1 || hurt.Records != sound.Records-1 {
		t.Fatalf("with a flipped bit: status %d, %+v", code, hurt)
	}
	if d := hurt.Damage[0]; d.File != filepath.Base(file) || int64(at) < d.Offset || int64(at) >= d.Offset+d.Length {
		t.Errorf("byte %d was hurt, found %+v", at, d)
	}
	unnamed := 0
	for _, x := range cat(t, card) {
		if x.Gap != nil && x.Seq == 0 && x.Gap.Reason == "damage" && x.Gap.Count == 1 {
			unnamed++
		}
	}
	if unnamed != 1 {
		t.Errorf("cat shows %d gaps without seq", unnamed)
	}
}

func TestTwoRunsOnOneJournal(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	conf := config(t, simulated, card)
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	second := start(t, edgeagg, "run", "-c", conf)
	if code := second.end(5 * time.Second); code != 1 {
		t.Errorf("exit status %d", code)
	}
	if want := fmt.Sprintf("in use by process %d", run.cmd.Process.Pid); !strings.Contains(second.output(), want) {
		t.Errorf("expected %q, found %s", want, second.output())
	}
}

// A card that is full takes nothing; once there is room again the journal goes
// on, and what did not fit the buffer meanwhile is counted.
func TestAFullCard(t *testing.T) {
	mount := newCard(t, 16)
	card := filepath.Join(mount, "j")
	conf := config(t, strings.ReplaceAll(simulated, `min_free = "1MiB"`, "min_free = \"0\"\nsegment_bytes = \"64KiB\"\nmax_bytes = \"256KiB\"\n[aggregator]\nbuffer = \"16KiB\""), card)
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	filler := filepath.Join(mount, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	for n := len(block); n > 0; n /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(block[:n])
		}
	}
	f.Close()
	run.says("the card takes nothing")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	run.says("the card takes data again")
	before := len(cat(t, card))
	until(t, 10*time.Second, "new records", func() bool { return len(cat(t, card)) > before+10 })
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	all := cat(t, card)
	sameBooks(t, all, all)
}
