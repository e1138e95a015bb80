package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// scale plays a scale on a serial line: it writes numbered lines into the
// other end of a real pseudo terminal.
type scale struct {
	port string // the tty that edgeagg opens
	far  *os.File
	n    atomic.Uint64
	quit chan struct{}
	done sync.WaitGroup
	once sync.Once
}

const scaleEvery = 250 * time.Millisecond

func openScale() (*scale, error) {
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("pseudo terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		far.Close()
		return nil, fmt.Errorf("pseudo terminal: %w", err)
	}
	s := &scale{port: "/dev/pts/" + strconv.Itoa(n), far: far, quit: make(chan struct{})}
	s.done.Go(s.weigh)
	return s, nil
}

func (s *scale) weigh() {
	tick := time.NewTicker(scaleEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
			n := s.n.Load() + 1
			kg := 40 + 2*math.Sin(float64(n)/20)
			if _, err := fmt.Fprintf(s.far, "%d,%.3f\n", n, kg); err != nil {
				return
			}
			s.n.Store(n)
		}
	}
}

// lines is the number of lines written.
func (s *scale) lines() uint64 { return s.n.Load() }

func (s *scale) stop() {
	s.once.Do(func() { close(s.quit) })
	s.done.Wait()
}

func (s *scale) close() {
	s.stop()
	s.far.Close()
}
