package sensors

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// simulate plays a sensor: its values wander around what is usual for their
// unit. It never waits for the buffer: what finds no room is an overflow, as
// with a device that sends by itself.
type simulate struct {
	walks      []walk
	pull, push float64 // a step back to the middle, and a random one, as shares
}

// drift is how long a value takes to find back to its middle.
const drift = 100 * time.Second

// walk is a value that moves a little each time and is drawn to its middle.
type walk struct {
	field               config.Field
	middle, spread, now float64
	grain               float64
	rng                 *rand.Rand
}

// usual are the middle, the spread and the resolution of a unit's values.
var usual = map[string][3]float64{
	"Cel": {21, 4, 0.01},
	"%RH": {50, 12, 0.1},
	"Pa":  {101325, 400, 1},
	"V":   {230, 4, 0.1},
	"A":   {4, 1.5, 0.01},
	"W":   {900, 350, 0.1},
	"lx":  {800, 300, 1},
	"kg":  {40, 2, 0.001},
}

func openSimulate(c *config.Source, _ *Options) (driver, error) {
	h := fnv.New64a()
	h.Write([]byte(c.Name)) // never fails
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	// An Ornstein–Uhlenbeck walk with a standard deviation of a third of spread,
	// however short the steps are.
	pull := 1 - math.Exp(-c.Every.Seconds()/drift.Seconds())
	s := &simulate{pull: pull, push: math.Sqrt(pull*(2-pull)) / 3}
	for _, f := range c.Fields {
		u, ok := usual[f.Unit]
		if !ok {
			u = [3]float64{100, 20, 0.1}
		}
		s.walks = append(s.walks, walk{field: f, middle: u[0], spread: u[1], grain: u[2], now: u[0] + u[1]*(rng.Float64()-0.5), rng: rng})
	}
	return s, nil
}

func (s *simulate) Read(r *record.Record) error {
	for i := range s.walks {
		w := &s.walks[i]
		w.now += (w.middle-w.now)*s.pull + w.rng.NormFloat64()*w.spread*s.push
		r.Fields = append(r.Fields, record.Field{Name: w.field.Name, Type: record.Float, Num: round(w.now, w.grain)})
	}
	return nil
}

func (s *simulate) Close() error { return nil }

// round rounds v to a multiple of grain, which is a power of ten.
func round(v, grain float64) float64 {
	if n := math.Round(1 / grain); n >= 1 {
		return math.Round(v*n) / n
	}
	return math.Round(v/grain) * grain
}
