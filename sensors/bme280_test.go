package sensors

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// chip plays a BME280 by its registers, as the data sheet describes them: reads
// go on to the next address, writes are pairs of address and value (section
// 6.2), a measurement is made in forced mode with the oversampling that was
// written, and a skipped one leaves the reset value.
type chip struct {
	mu      sync.Mutex
	reg     [256]byte
	address uint16
	raw     [8]byte // what a measurement gives, 0xF7 to 0xFE
	busy    int     // how many reads of status say measuring
	stuck   bool    // status says measuring for ever
	nak     bool    // it does not answer
	hang    chan struct{}
	writes  int
	closed  int
}

var errNAK = errors.New("remote I/O error")

// realChip has the trimming and a measurement of a real one: the capture in
// periph's own tests (devices v3.7.4, bmxx80/bmx280_test.go,
// TestI2CSenseBME280_success).
func realChip() *chip {
	c := &chip{address: 0x76, raw: [8]byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0, 0x7a, 0x76}}
	copy(c.reg[0x88:], []byte{
		0x10, 0x6e, 0x6c, 0x66, 0x32, 0x0, 0x5d, 0x95, 0xb8, 0xd5, 0xd0, 0xb, 0x77, 0x1e, 0x9d, 0xff, 0xf9, 0xff,
		0xac, 0x26, 0xa, 0xd8, 0xbd, 0x10, 0x0, 0x4b,
	})
	copy(c.reg[0xE1:], []byte{0x6e, 0x1, 0x0, 0x13, 0x5, 0x0, 0x1e})
	c.reg[0xD0] = 0x60
	c.reset()
	return c
}

func (c *chip) reset() {
	for _, r := range []int{0xF2, 0xF3, 0xF4, 0xF5} {
		c.reg[r] = 0
	}
	copy(c.reg[0xF7:], []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0})
}

func (c *chip) measure() {
	ctrl, hum := c.reg[0xF4], c.reg[0xF2]
	copy(c.reg[0xF7:], []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0})
	if ctrl>>2&7 != 0 {
		copy(c.reg[0xF7:], c.raw[0:3])
	}
	if ctrl>>5 != 0 {
		copy(c.reg[0xFA:], c.raw[3:6])
	}
	if hum&7 != 0 {
		copy(c.reg[0xFD:], c.raw[6:8])
	}
	c.reg[0xF4] &^= 3 // back to sleep
	c.busy = 2
}

func (c *chip) Tx(addr uint16, w, r []byte) error {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	if hang != nil {
		<-hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nak || addr != c.address {
		return errNAK
	}
	if len(r) == 0 {
		for i := 0; i+1 < len(w); i += 2 {
			c.writes++
			switch c.reg[w[i]] = w[i+1]; {
			case w[i] == 0xE0 && w[i+1] == 0xB6:
				c.reset()
			case w[i] == 0xF4 && w[i+1]&3 == 1:
				c.measure()
			}
		}
		return nil
	}
	if w[0] == 0xF3 {
		if c.reg[0xF3] = 0; c.stuck || c.busy > 0 {
			c.reg[0xF3] = 0x08
			c.busy--
		}
	}
	copy(r, c.reg[w[0]:])
	return nil
}

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func (c *chip) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func chipOptions(b *book, c *chip) Options {
	o := options(b, config.Source{Name: "outside", Kind: "bme280", Bus: "/dev/i2c-1", Address: 0x76, Every: time.Second, Timeout: 500 * time.Millisecond})
	o.OpenI2C = func(string) (i2c.BusCloser, error) { return c, nil }
	return o
}

// realReading is in floating point; in whole numbers, which drop a 50 000th of
// the temperature on the way, periph has 65.3056 %RH and 100942.695 Pa.
const realReading = `"fields":{"temperature":23.72,"humidity":65.31,"pressure":100943}}`

func TestBME280ReadsARealChip(t *testing.T) {
	c := realChip()
	o := chipOptions(newBook(), c)
	d, err := openBME280(&o.Sources[0], &o)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var r record.Record
		if err := d.Read(&r); err != nil {
			t.Fatal(err)
		}
		if r.Kind = record.Reading; show(r) != realReading {
			t.Errorf("got %s, expected %s", show(r), realReading)
		}
		c.set(c.reset) // a brown-out between readings changes nothing
	}
	if err := d.Close(); err != nil || c.closed != 1 {
		t.Errorf("the bus was closed %d times, %v", c.closed, err)
	}
}

// The worked example of the data sheet BST-BMP280-DS001, section 3.12, which
// has the same formulas for temperature and pressure.
func TestBME280DataSheetExample(t *testing.T) {
	cal := bme280Cal{
		T1: 27504, T2: 26435, T3: -1000,
		P1: 36477, P2: -10685, P3: 3024, P4: 2855, P5: 140, P6: -7, P7: 15500, P8: -14600, P9: 6000,
	}
	fine, cel := cal.temperature(519888)
	if math.Abs(fine-128422) > 1 || math.Abs(cel-25.08) > 0.005 {
		t.Errorf("temperature %v (fine %v), expected 25.08 (128422)", cel, fine)
	}
	if pa := cal.pressure(415148, fine); math.Abs(pa-100653.27) > 0.02 {
		t.Errorf("pressure %v, expected 100653.27", pa)
	}
}

// The formula in whole numbers of the data sheet BST-BME280-DS002, section
// 4.2.3, gives the humidity in 1/1024 %RH.
func wholeHumidity(c *bme280Cal, adc, fine int32) float64 {
	x := fine - 76800
	x = ((adc<<14 - int32(c.H4)<<20 - int32(c.H5)*x + 16384) >> 15) *
		(((((x*int32(c.H6))>>10*((x*int32(c.H3))>>11+32768))>>10+2097152)*int32(c.H2) + 8192) >> 14)
	x -= ((x >> 15) * (x >> 15) >> 7) * int32(c.H1) >> 4
	return float64(min(max(x, 0), 419430400)>>12) / 1024
}

func TestBME280HumidityInBothForms(t *testing.T) {
	cal := bme280Cal{H1: 75, H2: 366, H3: 0, H4: 309, H5: 0, H6: 30}
	other := bme280Cal{H1: 75, H2: 355, H3: 12, H4: 339, H5: -50, H6: 30}
	for _, c := range []*bme280Cal{&cal, &other} {
		for adc := int32(15000); adc < 50000; adc += 500 {
			for _, fine := range []int32{-100000, 0, 76800, 128422, 300000} {
				got, want := c.humidity(adc, float64(fine)), wholeHumidity(c, adc, fine)
				if math.Abs(got-want) > 0.02 {
					t.Fatalf("%d at %d: %v, in whole numbers %v", adc, fine, got, want)
				}
			}
		}
	}
}

// The trimming parameters lie in the registers as section 4.2.2 says.
func TestBME280Trimming(t *testing.T) {
	c := realChip()
	for i := range 26 {
		c.reg[0x88+i] = byte(0x10 + i)
	}
	copy(c.reg[0xE1:], []byte{0x01, 0x80, 0xFE, 0x8A, 0xBC, 0xDE, 0x81})
	o := chipOptions(newBook(), c)
	d, err := openBME280(&o.Sources[0], &o)
	if err != nil {
		t.Fatal(err)
	}
	want := bme280Cal{
		T1: 0x1110, T2: 0x1312, T3: 0x1514,
		P1: 0x1716, P2: 0x1918, P3: 0x1B1A, P4: 0x1D1C, P5: 0x1F1E, P6: 0x2120, P7: 0x2322, P8: 0x2524, P9: 0x2726,
		H1: 0x29, H2: -0x7FFF, H3: 0xFE, H4: -0x754, H5: -0x215, H6: -0x7F,
	}
	if got := d.(*bme280).cal; got != want {
		t.Errorf("got %+v\nexpected %+v", got, want)
	}
}

func TestBME280Refuses(t *testing.T) {
	tests := []struct {
		name string
		f    func(c *chip)
		want string
	}{
		{"nobody at the address", func(c *chip) { c.address = 0x77 }, "bme280 at 0x76 on /dev/i2c-1: chip id: remote I/O error"},
		{"another chip", func(c *chip) { c.reg[0xD0] = 0x58 }, "chip id 0x58: expected 0x60"},
		{"blank trimming", func(c *chip) {
			for i := range 26 {
				c.reg[0x88+i] = 0xFF
			}
		}, "trimming parameters are blank"},
	}
	for _, test := range tests {
		c := realChip()
		test.f(c)
		o := chipOptions(newBook(), c)
		if _, err := openBME280(&o.Sources[0], &o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if c.closed != 1 {
			t.Errorf("%s: the bus was closed %d times", test.name, c.closed)
		}
	}
}

func TestBME280ValuesThatCannotBe(t *testing.T) {
	tests := []struct {
		name, want string
		f          func(c *chip)
	}{
		{"a brown-out in the measurement", `"quality":"bad","why":"no measurement","fields":{}}`, func(c *chip) { c.raw = [8]byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0} }},
		{"humidity not measured", `"quality":"bad","why":"no measurement","fields":{}}`, func(c *chip) { c.raw[6], c.raw[7] = 0x80, 0 }},
		{"too hot", `"why":"temperature is beyond what the sensor measures"`, func(c *chip) { c.raw[3] = 0xF0 }},
		{"no pressure", `"why":"pressure is beyond what the sensor measures"`, func(c *chip) { c.raw[0] = 0xF0 }},
	}
	for _, test := range tests {
		c := realChip()
		test.f(c)
		o := chipOptions(newBook(), c)
		d, err := openBME280(&o.Sources[0], &o)
		if err != nil {
			t.Fatal(err)
		}
		var r record.Record
		if err := d.Read(&r); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if r.Kind = record.Reading; !strings.Contains(show(r), test.want) || r.Quality != record.Bad {
			t.Errorf("%s: %s", test.name, show(r))
		}
	}
}

// What goes wrong on the bus is an outage with the exact count, and the driver
// is built anew for the next try.
func TestBME280Supervised(t *testing.T) {
	tests := []struct {
		name      string
		fail      func(c *chip)
		heal      func(c *chip)
		why       string
		abandoned uint64
	}{
		{"does not answer", func(c *chip) { c.nak = true }, func(c *chip) { c.nak = false }, "remote I/O error", 0},
		{"another chip", func(c *chip) { c.reg[0xD0], c.nak = 0x58, true }, func(c *chip) { c.reg[0xD0], c.nak = 0x60, false }, "remote I/O error", 0},
		{"busy for ever", func(c *chip) { c.stuck = true }, func(c *chip) { c.stuck = false }, "busy for", 0},
		{"the bus hangs", func(c *chip) { c.hang = make(chan struct{}) }, func(c *chip) { close(c.hang); c.hang = nil }, "no answer within", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := newBook(), realChip()
				set, stop := serve(t, chipOptions(b, c))
				s := set.Sources()[0]
				time.Sleep(3500 * time.Millisecond)
				c.set(func() { test.fail(c) })
				time.Sleep(10 * time.Second)
				if st := s.Status(); st.State != "error" {
					t.Errorf("state %s in the outage", st.State)
				}
				c.set(func() { test.heal(c) })
				time.Sleep(10 * time.Second)
				stop()
				b.sound(t)
				var missing int64
				var n int
				events := ""
				for _, r := range b.all() {
					switch r.Kind {
					case record.Event:
						events += r.Event + " "
						if r.Event == record.Failed && !strings.Contains(r.Why, test.why) {
							t.Errorf("why %q, expected %q", r.Why, test.why)
						}
					case record.Gap:
						missing += r.Count
					default:
						if n++; show(r) != realReading {
							t.Errorf("got %s", show(r))
						}
					}
				}
				st := s.Status()
				if events != "failed back " || missing < 9 || st.Lost[record.Error] != uint64(missing) {
					t.Errorf("events %s, %d missing, status %+v", events, missing, st)
				}
				if st.Abandoned < test.abandoned || test.abandoned == 0 && st.Abandoned > 0 {
					t.Errorf("%d calls abandoned", st.Abandoned)
				}
				// One reading each second, in 23.5 s, or a count of it.
				if total := int64(n) + missing; total < 23 || total > 25 {
					t.Errorf("%d readings and %d missing in 23.5 s", n, missing)
				}
			})
		})
	}
}

func TestBME280BusNames(t *testing.T) {
	for path, want := range map[string]string{
		"/dev/i2c-nix":           "expected a device like /dev/i2c-1",
		"/sys/class":             "expected a device like /dev/i2c-1",
		"/dev/i2c-99":            "bus /dev/i2c-99: ",
		"/dev/i2c-1000000000000": "bus /dev/i2c-1000000000000: ",
	} {
		if bus, err := openI2C(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, bus, err)
		}
	}
}
