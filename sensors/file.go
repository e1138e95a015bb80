package sensors

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// file reads a number that stands in a file, as the kernel shows them in
// sysfs and procfs.
type file struct {
	f       *os.File
	path    string
	kernel  bool // its content is made when it is read: the open file stays right
	c       *config.Source
	divisor float64 // of a scale like 0.001, so that 21530 becomes 21.53 exactly; 0: none
	buf     [4096]byte
}

func openFile(c *config.Source, _ *Options) (driver, error) {
	f, err := os.Open(c.Path)
	if err != nil {
		return nil, err
	}
	d := &file{f: f, path: c.Path, c: c}
	real, err := filepath.EvalSymlinks(c.Path)
	d.kernel = err == nil && (strings.HasPrefix(real, "/sys/") || strings.HasPrefix(real, "/proc/"))
	if n := math.Round(1 / c.Scale); c.Scale != 0 && math.Abs(n) >= 1 && 1/n == c.Scale {
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
	if n == 0 && err != nil {
		return fmt.Errorf("read %s: %w", d.path, err)
	}
	text := bytes.TrimSpace(d.buf[:n])
	r.Quality, r.Fields = record.Good, r.Fields[:0]
	f, ok := parseNumber(text)
	if !ok {
		r.Quality, r.Why = record.Bad, "not a number"
		r.Fields = append(r.Fields, record.Field{Name: "text", Type: record.String, Text: headOf(string(text), 256)})
		return nil
	}
	v, _ := f.Number()
	switch {
	case d.c.Scale == 1:
		f.Name = d.c.Field.Name
		r.Fields = append(r.Fields, f)
		return nil
	case d.divisor != 0:
		v /= d.divisor
	default:
		v *= d.c.Scale
	}
	r.Fields = append(r.Fields, record.Field{Name: d.c.Field.Name, Type: record.Float, Num: v})
	return nil
}

func (d *file) Close() error { return d.f.Close() }
