package sensors

import (
	"errors"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// A driver reads one open device. It belongs to one goroutine.
type driver interface {
	// Read fills r with one reading: its fields, and its quality if that is
	// not good. The source, and the time if the driver leaves it zero, are
	// filled in by the caller.
	Read(r *record.Record) error
	// Close gives the device back.
	Close() error
}

// A way is how a kind of source is read.
type way int

const (
	polled  way = iota // each `every`, in a call that may hang and is then abandoned
	sends              // Read waits for what the device sends, and returns errIdle now and then
	counted            // as often as `every` asks, never waiting for the buffer
)

// A kind of source.
type kind struct {
	way    way
	open   func(c *config.Source, o *Options) (driver, error)
	fields func(c *config.Source) []config.Field // for metadata
}

// kinds are all kinds of source; adding one is a line here and a file.
var kinds = map[string]kind{
	"bme280":   {polled, openBME280, bme280Fields},
	"file":     {polled, openFile, func(c *config.Source) []config.Field { return []config.Field{c.Field} }},
	"serial":   {sends, openSerial, func(c *config.Source) []config.Field { return c.Fields }},
	"simulate": {counted, openSimulate, func(c *config.Source) []config.Field { return c.Fields }},
}

var (
	// errIdle says that nothing came for now.
	errIdle = errors.New("nothing came")
	// errGone says that the device is not there any more: it was unplugged.
	errGone = errors.New("unplugged")
)
