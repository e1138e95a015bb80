// Package sensors reads the sources of a configuration, each in a goroutine
// of its own, and writes what they deliver as records.
//
// A driver is one file that opens, reads and closes one kind of device. All
// the rest stands in one place for all of them: pacing, back-off, opening
// again, what is missing and since when, and the judgement of values.
package sensors

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"periph.io/x/conn/v3/i2c"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// Sink is where encoded records go. It keeps nothing of p.
type Sink interface {
	// WriteContext waits for room: for sources that are polled.
	WriteContext(ctx context.Context, p []byte) (int, error)
	// TryWrite never waits: for sources that send by themselves.
	TryWrite(p []byte) (int, error)
}

// Options say what to read and where to.
type Options struct {
	Sources   []config.Source
	Sink      Sink
	Full      error // of TryWrite, when there is no room
	MaxRecord int   // bytes of the longest binary record, at least 256; a longer one becomes bad and keeps its head
	Now       func() record.Time
	Log       *slog.Logger
	Root      string                                   // "" or "/": the machine's; else the folder that holds the /sys and /dev to read
	OpenI2C   func(path string) (i2c.BusCloser, error) // nil: the kernel's
}

// at is where a path of the configuration is found.
func (o *Options) at(path string) string {
	if o.Root == "" || !strings.HasPrefix(path, "/sys/") && !strings.HasPrefix(path, "/dev/") {
		return path
	}
	return filepath.Join(o.Root, path)
}

// Set is all sources of a configuration.
type Set struct {
	sources []*Source
}

// New prepares the sources; nothing is opened yet. The only error is a kind
// that does not exist.
func New(o Options) (*Set, error) {
	if o.OpenI2C == nil {
		o.OpenI2C = openI2C
	}
	s := &Set{}
	for i := range o.Sources {
		cfg := &o.Sources[i]
		k, ok := kinds[cfg.Kind]
		if !ok {
			return nil, fmt.Errorf("source %s: no kind %q", cfg.Name, cfg.Kind)
		}
		s.sources = append(s.sources, newSource(cfg, k, &o))
	}
	return s, nil
}

// Run reads all sources until ctx ends, and returns once each has written
// what it still had to say: about a second later at most, also when a driver
// hangs or the sink takes nothing.
func (s *Set) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, src := range s.sources {
		wg.Go(func() { src.run(ctx) })
	}
	wg.Wait()
}

// Sources are the sources in the order of the configuration.
func (s *Set) Sources() []*Source { return s.sources }
