package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// --sync-log says after each sync what is safe: rising, never more than the
// card holds, up to the stop; the file is added to and never truncated.
func TestSyncLog(t *testing.T) {
	dir := t.TempDir()
	card, log := filepath.Join(dir, "card"), filepath.Join(dir, "acks")
	if err := writeFile(log, "earlier\n"); err != nil {
		t.Fatal(err)
	}
	conf := config(t, simulated, card)
	last := 0
	for range 2 {
		run := start(t, edgeagg, "run", "-c", conf, "--sync-log", log)
		run.says("running")
		lines := func() []string {
			b, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		}
		before := len(lines())
		until(t, 10*time.Second, "acks", func() bool { return len(lines()) > before+5 })
		run.signal(syscall.SIGTERM)
		if code := run.end(5 * time.Second); code != 0 {
			t.Fatalf("exit status %d", code)
		}
		all := lines()
		if all[0] != "earlier" {
			t.Fatalf("the log begins with %q", all[0])
		}
		for _, line := range all[before:] {
			var seq int
			if _, err := fmt.Sscanf(line, "ack %d", &seq); err != nil || line != fmt.Sprintf("ack %d", seq) || seq <= last {
				t.Fatalf("%q behind %d", line, last)
			}
			last = seq
		}
		records := cat(t, card)
		if got := records[len(records)-1]; got.Event != "stop" || int(got.Seq) != last {
			t.Errorf("the last ack is %d, the last record %s", last, got.raw)
		}
	}
	// A pipe, which cannot be appended to, is opened plainly.
	run := start(t, edgeagg, "run", "-c", conf, "--sync-log", "/dev/stdout")
	run.says("ack ")
	run.signal(syscall.SIGTERM)
	if code := run.end(5 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
}
