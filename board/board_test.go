package board

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tree makes a root with files of such content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestIdentity(t *testing.T) {
	pi := tree(t, map[string]string{
		"proc/device-tree/serial-number":      "10000000abcd1234\x00",
		"sys/class/net/eth0/address":          "b8:27:eb:12:34:56\n",
		"sys/class/net/eth0/addr_assign_type": "0\n",
		"sys/class/net/eth0/device/x":         "",
		"sys/class/net/lo/address":            "00:00:00:00:00:00\n",
		"etc/machine-id":                      "0123\n",
	})
	id := Identify(pi)
	if id.Serial != "10000000abcd1234" || id.MAC != "b827eb123456" || id.Machine != "0123" || id.Board() != id.Serial || id.Hostname == "" {
		t.Errorf("%+v", id)
	}
	// A MAC address that the kernel made up is no identity.
	made := tree(t, map[string]string{
		"sys/class/net/eth0/address":          "02:00:00:12:34:56\n",
		"sys/class/net/eth0/addr_assign_type": "1\n",
		"sys/class/net/eth0/device/x":         "",
		"etc/machine-id":                      "0123\n",
	})
	if id := Identify(made); id.MAC != "" || id.Board() != "0123" {
		t.Errorf("%+v", id)
	}
	a, err := BootID()
	if err != nil || a == [16]byte{} {
		t.Errorf("%x, %v", a, err)
	}
}

func TestClock(t *testing.T) {
	build := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	now := time.Now().Unix()
	chip := func(seconds string, hctosys string) string {
		return tree(t, map[string]string{"sys/class/rtc/rtc0/since_epoch": seconds, "sys/class/rtc/rtc0/hctosys": hctosys})
	}
	for _, c := range []struct {
		name  string
		trust Trust
		root  string
		set   bool
	}{
		{"trusted", Always, tree(t, nil), true},
		{"no battery clock", RTC, tree(t, nil), false},
		{"a battery clock", RTC, chip(itoa(now), "1"), true},
		{"one that has lost its time", RTC, chip("12", "1"), false},
		{"one that did not set the system", RTC, chip(itoa(now), "0"), false},
		{"a battery clock will do", NTP, chip(itoa(now), "1"), true},
	} {
		k := NewClock(c.trust, build, c.root)
		if got := k.Set(); got != c.set {
			t.Errorf("%s: set %v", c.name, got)
		}
	}
	k := NewClock(RTC, build, tree(t, nil))
	k.Latch()
	if !k.Set() {
		t.Error("not set after Latch")
	}
	w1, m1, _ := k.Now()
	w2, m2, _ := k.Now()
	if m1 <= 0 || m2 < m1 || w2 < w1 || w1 < build.UnixMicro() {
		t.Errorf("%d %d, then %d %d", w1, m1, w2, m2)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestCard(t *testing.T) {
	c, err := CardOf("/proc/self")
	if err != nil || c.Mount != "/proc" || c.Type != "proc" {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = CardOf("/never/made/by/anyone")
	if err != nil || c.Mount != "/" || c.Total == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, x := range []struct {
		card Card
		ok   bool
	}{
		{Card{Mount: "/", Type: "ext4"}, false}, {Card{Mount: "/run", Type: "tmpfs"}, false},
		{Card{Mount: "/data", Type: "overlay"}, false}, {Card{Mount: "/data", Type: "ext4"}, true},
	} {
		if why := x.card.Lasting(); (why == nil) != x.ok {
			t.Errorf("%+v: %v", x.card, why)
		}
	}
}

func TestJournaldPriorities(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(NewJournald(&b)).With("source", "a")
	log.Error("broken", "err", "x")
	log.Warn("odd")
	log.Info("fine")
	log.WithGroup("g").Debug("never")
	want := "<3>msg=broken source=a err=x\n<4>msg=odd source=a\n<6>msg=fine source=a\n"
	if b.String() != want {
		t.Errorf("%q, expected %q", b.String(), want)
	}
	if strings.Contains(b.String(), "time=") {
		t.Error("journald knows the time")
	}
}
