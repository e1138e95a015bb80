package sensors

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// chip is a BME280 at the level of its registers (data sheet BST-BME280-DS002,
// section 5): a forced measurement puts the raw values into the data
// registers some time after it was asked for.
type chip struct {
	mu   sync.Mutex
	reg  [256]byte
	adcT uint32
	adcP uint32
	adcH uint16

	gone  bool // no acknowledgement
	busy  bool // measures for ever
	hang  chan struct{}
	polls int
}

// newChip has the trimming parameters of the example in Bosch's BMP280 data
// sheet (BST-BMP280-DS001, section 3.12), and ordinary ones for humidity.
func newChip() *chip {
	c := &chip{adcT: 519888, adcP: 415148, adcH: 30000}
	c.reset()
	for i, v := range []int{27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000} {
		c.reg[0x88+2*i], c.reg[0x89+2*i] = byte(v), byte(uint16(int16(v))>>8)
		if v > math.MaxInt16 {
			c.reg[0x89+2*i] = byte(v >> 8)
		}
	}
	h4, h5 := 313, 50
	c.reg[0xA1] = 75                         // H1
	c.reg[0xE1], c.reg[0xE2] = 0x6A, 0x01    // H2 = 362
	c.reg[0xE3] = 0                          // H3
	c.reg[0xE4] = byte(h4 >> 4)              // H4
	c.reg[0xE5] = byte(h4&0xF | (h5&0xF)<<4) // H4 and H5
	c.reg[0xE6] = byte(h5 >> 4)              // H5
	c.reg[0xE7] = 30                         // H6
	return c
}

// reset is what a brown-out does: settings and data go, trimming stays.
func (c *chip) reset() {
	c.reg[0xD0] = 0x60
	for a := 0xF2; a <= 0xF5; a++ {
		c.reg[a] = 0
	}
	copy(c.reg[0xF7:], []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0})
}

func (c *chip) Tx(addr uint16, w, r []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hang != nil {
		c.mu.Unlock()
		<-c.hang
		c.mu.Lock()
	}
	if c.gone || addr != 0x76 {
		return errors.New("no acknowledgement")
	}
	if len(r) == 0 {
		for ; len(w) >= 2; w = w[2:] {
			c.reg[w[0]] = w[1]
			if w[0] == 0xF4 && w[1]&3 == 1 {
				c.measure(w[1])
			}
		}
		return nil
	}
	if w[0] == 0xF3 {
		c.reg[0xF3] = 0
		if c.polls++; c.busy || c.polls == 1 {
			c.reg[0xF3] = 8
		}
	}
	copy(r, c.reg[w[0]:])
	return nil
}

func (c *chip) measure(ctrl byte) {
	c.polls = 0
	t, p, h := uint32(0x80000), uint32(0x80000), uint16(0x8000)
	if ctrl>>5 != 0 {
		t = c.adcT
	}
	if ctrl>>2&7 != 0 {
		p = c.adcP
	}
	if c.reg[0xF2]&7 != 0 {
		h = c.adcH
	}
	copy(c.reg[0xF7:], []byte{byte(p >> 12), byte(p >> 4), byte(p << 4), byte(t >> 12), byte(t >> 4), byte(t << 4), byte(h >> 8), byte(h)})
	c.reg[0xF4] &^= 3
}

func (c *chip) String() string                  { return "simulated" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }
func (c *chip) Close() error                    { return nil }

func chipOptions(c *chip) *Options {
	return &Options{OpenI2C: func(path string) (i2c.BusCloser, error) {
		if path != "/dev/i2c-1" {
			return nil, errors.New("no such bus")
		}
		return c, nil
	}}
}

var bmeConfig = config.Source{Name: "b", Kind: "bme280", Bus: "/dev/i2c-1", Address: 0x76, Every: 20 * time.Millisecond, Timeout: 500 * time.Millisecond}

// The data sheet's example: 25.08 °C and 100 653 Pa.
func TestBME280Example(t *testing.T) {
	d, err := openBME280(&bmeConfig, chipOptions(newChip()))
	if err != nil {
		t.Fatal(err)
	}
	var r record.Record
	if err := d.Read(&r); err != nil {
		t.Fatal(err)
	}
	if r.Quality != record.Good || r.Fields[0].Num != 25.08 || math.Abs(r.Fields[2].Num-100653.3) > 0.05 {
		t.Errorf("%+v", r.Fields)
	}
	// The same raw value by the integer formula of section 4.2.3.
	want := integerHumidity(30000, 128422, 75, 362, 0, 313, 50, 30)
	if got := r.Fields[1].Num; math.Abs(got-want) > 0.02 {
		t.Errorf("humidity %v, by the integer formula %v", got, want)
	}
}

// integerHumidity is the data sheet's 32-bit formula, section 4.2.3.
func integerHumidity(adc, fine, h1, h2, h3, h4, h5, h6 int32) float64 {
	v := fine - 76800
	v = ((((adc << 14) - (h4 << 20) - (h5 * v)) + 16384) >> 15) * (((((((v*h6)>>10)*(((v*h3)>>11)+32768))>>10)+2097152)*h2 + 8192) >> 14)
	v -= ((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4
	v = min(max(v, 0), 419430400)
	return float64(v>>12) / 1024
}

func TestBME280Troubles(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*chip)
		open   string // the error of opening
		read   string // the error of reading
		why    string // or the reason of a bad reading
	}{
		{"not there", func(c *chip) { c.gone = true }, "no acknowledgement", "", ""},
		{"another chip", func(c *chip) { c.reg[0xD0] = 0x58 }, "chip id 0x58", "", ""},
		{"blank trimming", func(c *chip) { clear(c.reg[0x88:0xA2]) }, "blank", "", ""},
		{"stuck busy", func(c *chip) { c.busy = true }, "", "still measuring", ""},
		{"skipped", func(c *chip) { c.adcT = 0x80000 }, "", "", "no measurement"},
		{"too hot", func(c *chip) { c.adcT = 800000 }, "", "", "outside the sensor's range"},
	} {
		ch := newChip()
		c.change(ch)
		d, err := openBME280(&bmeConfig, chipOptions(ch))
		if c.open != "" {
			if err == nil || !strings.Contains(err.Error(), c.open) || !strings.Contains(err.Error(), "0x76 on /dev/i2c-1") {
				t.Errorf("%s: open: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var r record.Record
		err = d.Read(&r)
		if c.read != "" {
			if err == nil || !strings.Contains(err.Error(), c.read) {
				t.Errorf("%s: read: %v", c.name, err)
			}
			continue
		}
		if err != nil || r.Quality != record.Bad || r.Why != c.why {
			t.Errorf("%s: %v, %+v", c.name, err, r)
		}
	}
}

// A brown-out between two readings leaves no trace in the second.
func TestBME280AfterABrownOut(t *testing.T) {
	ch := newChip()
	d, err := openBME280(&bmeConfig, chipOptions(ch))
	if err != nil {
		t.Fatal(err)
	}
	var a, b record.Record
	if err := d.Read(&a); err != nil {
		t.Fatal(err)
	}
	ch.reset()
	if err := d.Read(&b); err != nil {
		t.Fatal(err)
	}
	if b.Quality != record.Good || b.Fields[1] != a.Fields[1] {
		t.Errorf("before %+v, after %+v", a.Fields, b.Fields)
	}
}
