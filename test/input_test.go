package test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a device may send is a reading, good or with its reason.
func TestWhatADeviceMaySend(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, parse, line string
		quality, why      string
		fields            string // JSON; "": any
	}{
		{"csv", `parse = "csv"` + "\n" + `fields = ["weight kg", "stable"]`, "1.5,true", "", "", `{"weight":1.5,"stable":true}`},
		{"csv, too many fields", `parse = "csv"` + "\n" + `fields = ["a", "b"]`, "1,2,3", "bad", "expected 2 fields, found 3", ""},
		{"csv, too few fields", `parse = "csv"` + "\n" + `fields = ["a", "b"]`, "1", "bad", "expected 2 fields, found 1", ""},
		{"text where a number belongs", `parse = "csv"` + "\n" + `fields = ["a V"]`, "??", "bad", "a is not a number", `{"text":"??"}`},
		{"not a number", `parse = "csv"` + "\n" + `fields = ["a V", "b"]`, "nan,2", "bad", "a is not finite", `{"b":2}`},
		{"JSON", `parse = "json"`, `{"t":21.5,"in":{"ok":true},"id":"x","none":null}`, "", "", `{"t":21.5,"in.ok":true,"id":"x"}`},
		{"JSON that is no object", `parse = "json"`, `[1,2]`, "bad", "not a JSON object", `{"text":"[1,2]"}`},
		{"JSON that is cut", `parse = "json"`, `{"a":1`, "bad", "not a JSON object", `{"text":"{\"a\":1"}`},
		{"kv", `parse = "kv"`, `t=21.5 id="a b",n:3`, "", "", `{"t":21.5,"id":"a b","n":3}`},
		{"not kv", `parse = "kv"`, `hello`, "bad", "expected name=value", `{"text":"hello"}`},
		{"regexp", `parse = "regexp"` + "\n" + `pattern = 'T=(?P<t>[0-9.]+)C'`, "xx T=21.5C", "", "", `{"t":21.5}`},
		{"regexp that does not match", `parse = "regexp"` + "\n" + `pattern = 'T=(?P<t>[0-9.]+)C'`, "T=?", "bad", "does not match the pattern", `{"text":"T=?"}`},
		{"text", `parse = "text"`, "hello world", "", "", `{"text":"hello world"}`},
		{"not UTF-8", `parse = "text"`, "a\xff\xfeb", "bad", "not UTF-8", `{"text":"a` + "\ufffd" + `b"}`},
		{"a line of 1 MB", `parse = "text"`, long, "bad", "too long", ""},
		{"bytes of all kinds", `parse = "kv"`, "\x00\x01=\x7f", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPty(t)
			card := filepath.Join(t.TempDir(), "card")
			run := start(t, edgeagg, "run", "-c", config(t, `
clock = "trust"
[journal]
dir = %q
sync = "20ms"
min_free = "1MiB"
[[source]]
name = "s"
kind = "serial"
port = %q
%s
`, card, p.name, c.parse))
			run.says("running")
			readings := func() (all []rec) {
				for _, x := range cat(t, card) {
					if x.Fields != nil {
						all = append(all, x)
					}
				}
				return all
			}
			// The first line may be taken as cut: what counts comes behind it.
			if _, err := p.far.WriteString("\nfirst\n" + c.line + "\nlast\n"); err != nil {
				t.Fatal(err)
			}
			until(t, 10*time.Second, "three readings", func() bool { return len(readings()) == 3 })
			x := readings()[1]
			if x.Quality != c.quality || x.Why != c.why {
				t.Errorf("quality %q, why %q: %s", x.Quality, x.Why, x.raw[:min(len(x.raw), 300)])
			}
			if c.fields != "" {
				got, err := json.Marshal(x.Fields)
				if err != nil {
					t.Fatal(err)
				}
				var want map[string]any
				if err := json.Unmarshal([]byte(c.fields), &want); err != nil {
					t.Fatal(err)
				}
				if w, _ := json.Marshal(want); !bytes.Equal(got, w) {
					t.Errorf("fields %s, expected %s", got, w)
				}
			}
			run.signal(syscall.SIGTERM)
			if code := run.end(5 * time.Second); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

// A broker that does not exist keeps nothing from running, and status says so.
func TestABrokerThatDoesNotResolve(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	conf := config(t, simulated+"[uplink]\nbroker = \"mqtt://no.such.host.invalid\"\n", card)
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	run.says("not connected")
	run.says("no such host")
	until(t, 10*time.Second, "readings", func() bool { return len(cat(t, card)) > 50 })
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// SIGHUP takes a new configuration, or says why not and goes on with the old.
func TestReload(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	conf := config(t, simulated, card)
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	write := func(s string) {
		t.Helper()
		if err := writeFile(conf, s); err != nil {
			t.Fatal(err)
		}
		run.signal(syscall.SIGHUP)
	}
	good := strings.ReplaceAll(simulated, "%q", `"`+card+`"`)
	write(good + "nonsense = 1\n")
	run.says("not reloaded")
	write(strings.ReplaceAll(good, `name = "a"`, `name = "b"`))
	until(t, 10*time.Second, "readings of b", func() bool {
		for _, x := range cat(t, card) {
			if x.Source == "b" {
				return true
			}
		}
		return false
	})
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	all := cat(t, card)
	sameBooks(t, all, all)
}
