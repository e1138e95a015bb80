package sensors

import (
	"errors"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// A driver reads one open device. Its methods are called one at a time. One
// that hangs is left alone after the source's timeout, and closed once the
// call returns.
type driver interface {
	// Read adds one reading to r: its fields, and its quality and why if that
	// is not good. Source, and the time if the driver leaves it zero, are
	// filled in by the caller. A stream gives errIdle when it has no whole
	// reading, and does not wait.
	Read(r *record.Record) error
	// Close gives the device back.
	Close() error
}

// A stream is a driver of a device that sends.
type stream interface {
	driver
	// fill waits for bytes, limit at most, and gives errIdle when none came.
	fill(limit time.Duration) error
	// ask sends the source's poll.
	ask() error
}

// A way is how a kind of source is read.
type way int

const (
	polled  way = iota // each `every`
	sends              // a stream: when something comes, or in answer to `poll`
	counted            // as often as `every` asks on the mean; its Read never waits, nor does it for the buffer
)

// A kind of source.
type kind struct {
	way    way
	open   func(c *config.Source, o *Options) (driver, error)
	place  func(c *config.Source) (key, value string) // where it is read, for metadata
	fields func(c *config.Source) []config.Field      // their names and units, as far as they are known
}

// kinds are all kinds of source; adding one is a line here and a file.
var kinds = map[string]kind{
	"bme280":   {polled, openBME280, onBus, bme280Fields},
	"file":     {polled, openFile, func(c *config.Source) (string, string) { return "path", c.Path }, func(c *config.Source) []config.Field { return []config.Field{c.Field} }},
	"serial":   {sends, openSerial, func(c *config.Source) (string, string) { return "port", c.Port }, configured},
	"simulate": {counted, openSimulate, func(*config.Source) (string, string) { return "", "" }, configured},
}

func onBus(c *config.Source) (key, value string) { return "bus", c.Bus }

func configured(c *config.Source) []config.Field { return c.Fields }

var (
	// errIdle says that nothing came for now.
	errIdle = errors.New("nothing came")
	// errGone says that the device is not there any more: it was unplugged.
	errGone = errors.New("unplugged")
)
