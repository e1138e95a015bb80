package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// 10 000 numbered lines over two serial ports, beside a file, while the broker
// stops twice and edgeagg is killed three times: what is on the card is at the
// receiver, once per key and in order.
func TestLinesThroughKillsAndOutages(t *testing.T) {
	const lines = 5000 // each port
	b := newBroker(t)
	r := receive(t, b)
	dir := t.TempDir()
	card := filepath.Join(dir, "card")
	number := filepath.Join(dir, "number")
	if err := os.WriteFile(number, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := []*pty{newPty(t), newPty(t)}
	conf := config(t, `
device = "storm"
clock = "trust"
[journal]
dir = %q
sync = "200ms"
segment_bytes = "64KiB"
min_free = "1MiB"
[uplink]
broker = %q
every = "300ms"
live = "1s"
status = "1s"
[[source]]
name = "left"
kind = "serial"
port = %q
baud = 115200
parse = "csv"
fields = ["n", "v V"]
[[source]]
name = "right"
kind = "serial"
port = %q
baud = 115200
parse = "kv"
[[source]]
name = "number"
kind = "file"
path = %q
every = "20ms"
field = "n"
`, card, b.url(), ports[0].name, ports[1].name, number)

	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	var wg sync.WaitGroup
	var mu sync.Mutex
	sent := [2]int{}
	for i, p := range ports {
		wg.Go(func() {
			for n := 1; n <= lines; n++ {
				line := fmt.Sprintf("%d,%d.5\n", n, n%100)
				if i == 1 {
					line = fmt.Sprintf("n=%d v=%d.5\n", n, n%100)
				}
				if _, err := p.far.WriteString(line); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sent[i] = n
				mu.Unlock()
				time.Sleep(time.Millisecond) // the pace of the device that is played
			}
		})
	}
	wg.Go(func() {
		for n := 2; n < 200; n++ {
			if err := os.WriteFile(number+".new", []byte(strconv.Itoa(n)+"\n"), 0o600); err != nil {
				t.Error(err)
			}
			if err := os.Rename(number+".new", number); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	reached := func(n int) {
		t.Helper()
		until(t, 60*time.Second, fmt.Sprintf("%d lines sent", n), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return sent[0] >= n && sent[1] >= n
		})
	}
	again := func() {
		run.kill()
		run = start(t, edgeagg, "run", "-c", conf)
		run.says("running")
	}
	reached(lines / 8)
	b.stop()
	reached(lines * 2 / 8)
	again()
	reached(lines * 3 / 8)
	b.start()
	again()
	reached(lines * 5 / 8)
	b.stop()
	reached(lines * 6 / 8)
	b.start()
	again()
	wg.Wait()

	// Every line that was sent has been read when the last one has.
	until(t, 30*time.Second, "the last lines are on the card", func() bool {
		last := map[string]string{}
		for _, x := range cat(t, card) {
			if n, ok := x.Fields["n"].(float64); ok {
				last[x.Source] = strconv.Itoa(int(n))
			}
		}
		return last["left"] == strconv.Itoa(lines) && last["right"] == strconv.Itoa(lines)
	})
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	all := cat(t, card)
	until(t, 20*time.Second, "everything is received", func() bool { return len(r.history()) >= len(all) })
	sameBooks(t, all, r.history())

	events := map[string]int{}
	for _, x := range all {
		events[x.Event]++
		if x.Gap != nil {
			t.Errorf("gap in quiet times: %s", x.raw)
		}
	}
	if events["start"] != 4 || events["recovered"] != 3 || events["stop"] != 1 {
		t.Errorf("events: %v", events)
	}
	for _, port := range []string{"left", "right"} {
		missing, at := 0, 0
		for _, x := range all {
			if x.Source != port {
				continue
			}
			n, ok := x.Fields["n"].(float64)
			if !ok || x.Quality != "" && int(n) != at+1 {
				continue // the line that was being read in a kill
			}
			if int(n) <= at {
				t.Fatalf("%s: line %d behind line %d", port, int(n), at)
			}
			missing += int(n) - at - 1
			at = int(n)
		}
		t.Logf("%s: %d lines lost with the killed processes", port, missing)
		// What a killed process had read and not yet written: one read's worth each.
		if missing > 3*4096/9 {
			t.Errorf("%s: %d lines are missing", port, missing)
		}
	}
	t.Logf("%d records, %d received twice", len(all), r.doubled)
	if got := r.on("edgeagg/storm/availability"); len(got) == 0 || got[len(got)-1] != "stopped" {
		t.Errorf("availability: %v", got)
	}
	if len(r.on("edgeagg/storm/live/left")) == 0 || len(r.on("edgeagg/storm/meta/right")) == 0 {
		t.Error("no live or meta topics")
	}
	status := r.on("edgeagg/storm/status")
	if len(status) == 0 || !strings.Contains(status[len(status)-1], `"uploaded":`) {
		t.Errorf("status: %v", status)
	}
}
