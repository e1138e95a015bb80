package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asRoot runs a program as root.
func asRoot(t *testing.T, name string, args ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		name, args = "sudo", append([]string{"-n", name}, args...)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// newCard mounts a real ext4 of its own, of so many MiB.
func newCard(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "card")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(mib)<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	asRoot(t, "mkfs.ext4", "-q", "-F", image)
	asRoot(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { asRoot(t, "umount", mount) })
	asRoot(t, "chmod", "777", mount)
	return mount
}

// A card that hangs while lines come in faster than the buffer can take: what
// was read and found no room is in gap records, the number exact; a SIGTERM
// meanwhile ends with everything that was accepted on the card.
func TestStopWithAFullBufferOnACardThatHangs(t *testing.T) {
	mount := newCard(t, 64)
	p := newPty(t)
	conf := config(t, `
device = "stall"
clock = "trust"
[aggregator]
buffer = "16KiB"
[journal]
dir = %q
sync = "100ms"
min_free = "1MiB"
[[source]]
name = "fast"
kind = "serial"
port = %q
baud = 3000000
parse = "csv"
fields = ["n"]
timeout = "20s"
`, filepath.Join(mount, "j"), p.name)
	run := start(t, edgeagg, "run", "-c", conf)
	run.says("running")
	sent := 0
	send := func(n int) {
		t.Helper()
		for range n {
			sent++
			if _, err := fmt.Fprintf(p.far, "%d\n", sent); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(2000)
	until(t, 10*time.Second, "lines are on the card, or in a gap", func() bool {
		readings, lost := account(cat(t, filepath.Join(mount, "j")))
		return readings+lost == sent
	})
	asRoot(t, "fsfreeze", "-f", mount)
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			asRoot(t, "fsfreeze", "-u", mount)
		}
	}
	t.Cleanup(thaw)
	// Far more than the buffer holds: the pty takes them only as they are read.
	send(20000)
	empty := 0
	until(t, 10*time.Second, "all lines are read", func() bool {
		n, err := unix.IoctlGetInt(int(p.near.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if empty++; n > 0 {
			empty = 0
		}
		return empty == 20 // the kernel moves bytes up in between
	})
	begin := time.Now()
	run.signal(syscall.SIGTERM)
	time.AfterFunc(50*time.Millisecond, thaw)
	if code := run.end(15 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	took := time.Since(begin)
	t.Logf("stopped in %v", took)
	if took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	all := cat(t, filepath.Join(mount, "j"))
	sameBooks(t, all, all)
	at := 0
	for _, x := range all {
		if x.Gap != nil && x.Gap.Reason != "overflow" {
			t.Errorf("gap %s", x.raw)
		}
		if x.Fields == nil {
			continue
		}
		n, ok := x.Fields["n"].(float64)
		if !ok || int(n) <= at {
			t.Fatalf("line %d follows %d: %s", int(n), at, x.raw)
		}
		at = int(n)
	}
	readings, lost := account(all)
	if lost == 0 {
		t.Error("the buffer never overflowed")
	}
	t.Logf("%d sent: %d on the card, %d named by gaps", sent, readings, lost)
	if readings+lost != sent {
		t.Errorf("%d lines are neither on the card nor in a gap", sent-readings-lost)
	}
	if last := all[len(all)-1]; last.Event != "stop" {
		t.Errorf("the last record is %s", last.raw)
	}
}

// account counts the readings, and those that gaps say are lost.
func account(all []rec) (readings, lost int) {
	for _, x := range all {
		if x.Fields != nil {
			readings++
		}
		if x.Gap != nil {
			lost += int(x.Gap.Count)
		}
	}
	return readings, lost
}
