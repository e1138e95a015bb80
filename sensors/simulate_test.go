package sensors

import (
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// Values are numbers that stay where such a thing does, and move as it would.
func TestSimulatedValues(t *testing.T) {
	fields := []config.Field{{Name: "t", Unit: "Cel"}, {Name: "h", Unit: "%RH"}, {Name: "p", Unit: "Pa"}, {Name: "x"}}
	bounds := [][2]float64{{5, 40}, {10, 90}, {99000, 104000}, {0, 200}}
	steps := map[time.Duration]float64{time.Millisecond: 0.05, time.Second: 1.5, time.Hour: 35} // °C, at most
	for every := range steps {
		c := config.Source{Name: "s", Kind: "simulate", Every: every, Fields: fields}
		d, err := openSimulate(&c, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := openSimulate(&c, nil)
		var last [4]float64
		var moved [4]int
		for n := range 20_000 {
			var r, same record.Record
			if err := d.Read(&r); err != nil {
				t.Fatal(err)
			}
			_ = again.Read(&same)
			for i, f := range r.Fields {
				v, ok := f.Number()
				if !ok || f.Name != fields[i].Name || v < bounds[i][0] || v > bounds[i][1] {
					t.Fatalf("every %v, reading %d: %+v", every, n, f)
				}
				if f != same.Fields[i] {
					t.Fatalf("every %v, reading %d: %v and %v from one name", every, n, f, same.Fields[i])
				}
				if v != last[i] {
					moved[i]++
				}
				if most := steps[every]; i == 0 && n > 0 && (v-last[i] > most || last[i]-v > most) {
					t.Errorf("reading %d: from %v to %v °C in %v", n, last[i], v, every)
				}
				last[i] = v
			}
		}
		for i, n := range moved {
			if n < 100 {
				t.Errorf("every %v: %s moved %d times", every, fields[i].Name, n)
			}
		}
	}
}

func TestSimulatedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		var sources []config.Source
		for _, name := range []string{"a", "b", "c"} {
			sources = append(sources, config.Source{Name: name, Kind: "simulate", Every: time.Millisecond, Timeout: time.Second, Fields: []config.Field{{Name: "v", Unit: "V"}}})
		}
		set, stop := serve(t, options(b, sources...))
		time.Sleep(5*time.Second + 500*time.Microsecond)
		stop()
		for _, s := range set.Sources() {
			if st := s.Status(); st.Readings != 5001 || st.State != "ok" {
				t.Errorf("%s: %+v", s.Name(), st)
			}
		}
		if got, want := string(set.Sources()[0].Meta(nil)), `{"kind":"simulate","fields":[{"name":"v","unit":"V"}]}`; got != want {
			t.Errorf("meta %s", got)
		}
		b.sound(t)
	})
}

func BenchmarkSimulate(b *testing.B) {
	c := config.Source{Name: "s", Kind: "simulate", Every: time.Second, Fields: []config.Field{{Name: "t", Unit: "Cel"}, {Name: "h", Unit: "%RH"}}}
	o := options(newBook())
	o.Sink = nowhere{}
	d, err := openSimulate(&c, &o)
	if err != nil {
		b.Fatal(err)
	}
	s := newSource(&c, kinds["simulate"], &o)
	var r record.Record
	b.ReportAllocs()
	for range b.N {
		fresh(&r)
		if err := d.Read(&r); err != nil {
			b.Fatal(err)
		}
		s.reading(b.Context(), &r)
	}
}
