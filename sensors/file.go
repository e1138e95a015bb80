package sensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// maxText is how much is kept of a text that is no number, bytes.
const maxText = 256

// file reads a number that stands in a file, as the kernel shows them in sysfs
// and procfs: thermal zones (millidegrees), hwmon, IIO, power supplies. Config:
// path, scale, field. A file that cannot be read is an error; one that holds
// no number gives a bad reading with what it holds.
type file struct {
	f       *os.File
	path    string
	kernel  bool // its content is made when it is read: the open file stays right
	c       *config.Source
	divisor float64 // of a scale like 0.001, so that 21530 becomes 21.53 exactly; 0: none
	buf     [4096]byte
}

func openFile(c *config.Source, o *Options) (driver, error) {
	path := o.at(c.Path)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d := &file{f: f, path: path, c: c}
	real, err := filepath.EvalSymlinks(path)
	d.kernel = err == nil && (strings.HasPrefix(real, "/sys/") || strings.HasPrefix(real, "/proc/"))
	if n := math.Round(1 / c.Scale); math.Abs(n) > 1 && 1/n == c.Scale {
		d.divisor = n
	}
	return d, nil
}

func (d *file) Read(r *record.Record) error {
	if !d.kernel { // another file may have been renamed over it
		f, err := os.Open(d.path)
		if err != nil {
			return err
		}
		d.f.Close()
		d.f = f
	}
	n, err := d.f.ReadAt(d.buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", d.path, err)
	}
	text := bytes.TrimSpace(d.buf[:n])
	f, ok := parseNumber(text)
	switch {
	case len(text) == 0:
		r.Quality, r.Why = record.Bad, "empty"
		return nil
	case !ok:
		r.Quality, r.Why = record.Bad, "not a number"
		r.Fields = append(r.Fields, record.Field{Name: "text", Type: record.String, Text: headOf(string(text), maxText)})
		return nil
	}
	f.Name = d.c.Field.Name
	if v, _ := f.Number(); d.divisor != 0 {
		f.Type, f.Num = record.Float, v/d.divisor
	} else if d.c.Scale != 1 {
		f.Type, f.Num = record.Float, v*d.c.Scale
	}
	r.Fields = append(r.Fields, f)
	return nil
}

func (d *file) Close() error { return d.f.Close() }
