package board

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Trust says what makes the wall clock count as set.
type Trust string

// The ways to trust the wall clock.
const (
	NTP    Trust = "ntp"   // the kernel says synchronised, or a plausible battery clock is there
	RTC    Trust = "rtc"   // a plausible battery clock is there
	Always Trust = "trust" // somebody else sees to it
)

// Clock tells both times of the board, and whether the wall clock is set.
// Once set it counts as set for good, also when NTP is lost later.
type Clock struct {
	trust  Trust
	root   string
	oldest time.Time
	set    atomic.Bool
	looked atomic.Int64 // µs since boot of the last look at the kernel
}

// NewClock makes a clock that trusts as told. No time before oldest, usually
// that of the build, is plausible. Root moves /sys, for tests; "" is "/".
func NewClock(trust Trust, oldest time.Time, root string) *Clock {
	c := &Clock{trust: trust, root: root, oldest: oldest}
	c.set.Store(trust == Always || c.battery())
	return c
}

// Now gives the wall clock and the time since boot (CLOCK_BOOTTIME, which
// counts through suspend), both in µs, and whether the wall clock is set. It
// asks the kernel for its state at most once a second.
func (c *Clock) Now() (wall, mono int64, set bool) {
	mono = sinceBoot()
	wall = time.Now().UnixMicro()
	if set = c.set.Load(); set || c.trust != NTP {
		return wall, mono, set
	}
	if last := c.looked.Load(); mono-last >= 1e6 || last == 0 {
		c.looked.Store(mono)
		if synchronised() && wall >= c.oldest.UnixMicro() {
			c.set.Store(true)
			return wall, mono, true
		}
	}
	return wall, mono, false
}

// Latch says that the clock was seen set earlier in this boot.
func (c *Clock) Latch() { c.set.Store(true) }

// Set reports whether the wall clock is set.
func (c *Clock) Set() bool {
	_, _, set := c.Now()
	return set
}

func sinceBoot() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 1 // no such kernel runs Go
	}
	return ts.Nano() / 1e3
}

// synchronised asks the kernel whether something disciplines its clock
// (adjtimex(2): STA_UNSYNC is cleared by NTP, and comes back after 16 000 s
// without).
func synchronised() bool {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	return err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
}

// battery reports whether the system time came from a clock chip at boot
// (Documentation/ABI/testing/sysfs-class-rtc: hctosys) that tells a plausible
// time.
func (c *Clock) battery() bool {
	chips, _ := filepath.Glob(filepath.Join("/", c.root, "sys/class/rtc/rtc*"))
	for _, chip := range chips {
		if readInt(filepath.Join(chip, "hctosys")) == 1 && readInt(filepath.Join(chip, "since_epoch")) >= c.oldest.Unix() && time.Now().After(c.oldest) {
			return true
		}
	}
	return false
}

func readInt(name string) int64 {
	b, err := os.ReadFile(name)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
