package sensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// bme280 is Bosch's sensor of temperature (Cel, −40 to 85), humidity (%RH, 0
// to 100) and pressure (Pa, 30 000 to 110 000) on I²C, address 0x76 or 0x77.
// Registers and formulas: data sheet BST-BME280-DS002, sections 4.2.3, 5.3
// and 8.1. Each reading is one forced measurement with all settings written
// anew, so that a chip that lost its supply for a moment is right again.
type bme280 struct {
	bus i2c.BusCloser
	dev i2c.Dev
	cal bme280Cal
}

// bme280Cal are the trimming parameters, in the data sheet's names (section 4.2.2, table 16).
type bme280Cal struct {
	T1                             uint16
	T2, T3                         int16
	P1                             uint16
	P2, P3, P4, P5, P6, P7, P8, P9 int16
	H1                             uint8
	H2                             int16
	H3                             uint8
	H4, H5                         int16
	H6                             int8
}

func bme280Fields(*config.Source) []config.Field {
	return []config.Field{{Name: "temperature", Unit: "Cel"}, {Name: "humidity", Unit: "%RH"}, {Name: "pressure", Unit: "Pa"}}
}

// openI2C opens a bus of the kernel, like /dev/i2c-1.
func openI2C(path string) (i2c.BusCloser, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	n, err := strconv.Atoi(strings.TrimPrefix(path, "/dev/i2c-"))
	if err != nil {
		return nil, fmt.Errorf("bus %s: expected a device like /dev/i2c-1 (is I²C switched on? on a Raspberry Pi: raspi-config)", path)
	}
	bus, err := sysfs.NewI2C(n)
	if err != nil {
		return nil, fmt.Errorf("bus %s: %w", path, err)
	}
	return bus, nil
}

func openBME280(c *config.Source, o *Options) (driver, error) {
	bus, err := o.OpenI2C(c.Bus)
	if err != nil {
		return nil, err
	}
	d := &bme280{bus: bus, dev: i2c.Dev{Bus: bus, Addr: c.Address}}
	if err := d.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("bme280 at %#02x on %s: %w", c.Address, c.Bus, err), bus.Close())
	}
	return d, nil
}

func (d *bme280) setUp() error {
	var id [1]byte
	if err := d.dev.Tx([]byte{0xD0}, id[:]); err != nil {
		return fmt.Errorf("chip id: %w", err)
	}
	if id[0] != 0x60 {
		return fmt.Errorf("chip id %#02x: expected 0x60", id[0])
	}
	// A reset ends whatever mode another program left it in (section 5.4.2);
	// bit 0 of status says that the trimming parameters are being copied
	// (section 5.4.4), start-up takes 2 ms (table 1).
	if err := d.dev.Tx([]byte{0xE0, 0xB6}, nil); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if err := d.idle(0x01, 2*time.Millisecond); err != nil {
		return err
	}
	var a [26]byte // 0x88 to 0xA1
	var b [7]byte  // 0xE1 to 0xE7
	if err := errors.Join(d.dev.Tx([]byte{0x88}, a[:]), d.dev.Tx([]byte{0xE1}, b[:])); err != nil {
		return fmt.Errorf("trimming parameters: %w", err)
	}
	le := binary.LittleEndian
	s := func(i int) int16 { return int16(le.Uint16(a[i:])) }
	d.cal = bme280Cal{
		T1: le.Uint16(a[0:]), T2: s(2), T3: s(4),
		P1: le.Uint16(a[6:]), P2: s(8), P3: s(10), P4: s(12), P5: s(14), P6: s(16), P7: s(18), P8: s(20), P9: s(22),
		H1: a[25], H2: int16(le.Uint16(b[0:])), H3: b[2],
		H4: int16(int8(b[3]))<<4 | int16(b[4]&0x0F),
		H5: int16(int8(b[5]))<<4 | int16(b[4]>>4),
		H6: int8(b[6]),
	}
	if d.cal.T1 == 0 || d.cal.T1 == 0xFFFF || d.cal.P1 == 0 || d.cal.P1 == 0xFFFF {
		return errors.New("trimming parameters are blank")
	}
	return nil
}

// idle waits until none of the bits of status are set, ten steps at most.
func (d *bme280) idle(bits byte, step time.Duration) error {
	const most = 10
	var status [1]byte
	for range most {
		time.Sleep(step)
		if err := d.dev.Tx([]byte{0xF3}, status[:]); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		if status[0]&bits == 0 {
			return nil
		}
	}
	return fmt.Errorf("busy for %v (status %#02x)", most*step, status[0])
}

func (d *bme280) Read(r *record.Record) error {
	// ctrl_hum takes effect with the write of ctrl_meas (section 5.4.3):
	// oversampling × 1 each, forced mode.
	if err := d.dev.Tx([]byte{0xF2, 0x01, 0xF4, 0x01<<5 | 0x01<<2 | 0x01}, nil); err != nil {
		return fmt.Errorf("start of the measurement: %w", err)
	}
	// At most 9.3 ms with × 1 each (section 9.1); bit 3 says measuring.
	if err := d.idle(0x09, 10*time.Millisecond); err != nil {
		return err
	}
	var p [8]byte // 0xF7 to 0xFE
	if err := d.dev.Tx([]byte{0xF7}, p[:]); err != nil {
		return fmt.Errorf("measurement: %w", err)
	}
	press := int32(p[0])<<12 | int32(p[1])<<4 | int32(p[2])>>4
	temp := int32(p[3])<<12 | int32(p[4])<<4 | int32(p[5])>>4
	hum := int32(p[6])<<8 | int32(p[7])
	if temp == 0x80000 || press == 0x80000 || hum == 0x8000 {
		// What the registers hold after a reset (sections 5.4.7 to 5.4.9).
		r.Quality, r.Why = record.Bad, "no measurement"
		return nil
	}
	fine, t := d.cal.temperature(temp)
	h, pa := d.cal.humidity(hum, fine), d.cal.pressure(press, fine)
	r.Fields = append(r.Fields,
		record.Field{Name: "temperature", Num: round(t, 0.01)},
		record.Field{Name: "humidity", Num: round(h, 0.01)},
		record.Field{Name: "pressure", Num: round(pa, 0.1)})
	// What it can measure at all (sections 1.2 to 1.4).
	switch {
	case t < -40 || t > 85:
		lower(r, "temperature", " is beyond what the sensor measures")
	case pa < 30000 || pa > 110000:
		lower(r, "pressure", " is beyond what the sensor measures")
	}
	return nil
}

func (d *bme280) Close() error { return d.bus.Close() }

func (c *bme280Cal) temperature(adc int32) (fine, cel float64) {
	v1 := (float64(adc)/16384 - float64(c.T1)/1024) * float64(c.T2)
	v2 := float64(adc)/131072 - float64(c.T1)/8192
	fine = v1 + v2*v2*float64(c.T3)
	return fine, fine / 5120
}

func (c *bme280Cal) pressure(adc int32, fine float64) float64 {
	v1 := fine/2 - 64000
	v2 := v1*v1*float64(c.P6)/32768 + v1*float64(c.P5)*2
	v2 = v2/4 + float64(c.P4)*65536
	v1 = (float64(c.P3)*v1*v1/524288 + float64(c.P2)*v1) / 524288
	v1 = (1 + v1/32768) * float64(c.P1)
	if v1 == 0 {
		return 0
	}
	p := (1048576 - float64(adc) - v2/4096) * 6250 / v1
	v1 = float64(c.P9) * p * p / 2147483648
	v2 = p * float64(c.P8) / 32768
	return p + (v1+v2+float64(c.P7))/16
}

func (c *bme280Cal) humidity(adc int32, fine float64) float64 {
	h := fine - 76800
	h = (float64(adc) - (float64(c.H4)*64 + float64(c.H5)/16384*h)) *
		(float64(c.H2) / 65536 * (1 + float64(c.H6)/67108864*h*(1+float64(c.H3)/67108864*h)))
	h *= 1 - float64(c.H1)*h/524288
	return math.Min(math.Max(h, 0), 100)
}
