package sensors

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// cutAll feeds input in pieces of n bytes and gives the lines; a long one with
// an exclamation mark behind it.
func cutAll(f *framer, input string, n int) (lines []string) {
	for len(input) > 0 {
		k := copy(f.room()[:n], input)
		f.added(k)
		input = input[k:]
		for {
			line, long, ok := f.next()
			if !ok {
				break
			}
			s := string(line)
			if long {
				s += "!"
			}
			lines = append(lines, s)
		}
	}
	return lines
}

func TestFramer(t *testing.T) {
	for _, c := range []struct{ delimiter, input, want string }{
		{"\n", "a\nbc\n\nd", "a|bc|"},
		{"\r\n", "a\r\nb\rc\n\r\nd\r\n", "a|b\rc\n|d"},
		{"<>", "a<<>b<>", "a<|b"},
		{"\n", "0123456789\n01234567890\nx\n", "0123456789|0123456789!|x"},
		{"\n", "0123456789abcdefghijklmnop\nx\n", "0123456789!|x"},
		{"--", "0123456789abcdefghijklmnop--x--", "0123456789!|x"},
	} {
		for n := 1; n <= 40; n++ {
			if got := strings.Join(cutAll(newFramer([]byte(c.delimiter), 10), c.input, n), "|"); got != c.want {
				t.Errorf("%q in pieces of %d: %q, expected %q", c.input, n, got, c.want)
			}
		}
	}
}

// Whatever the pieces, the framer gives what splitting the whole gives, and
// does not grow.
func FuzzFramer(f *testing.F) {
	f.Add("a\nb\n", byte(3), "\n")
	f.Add(strings.Repeat("x", 5000)+"\r\nq", byte(200), "\r\n")
	f.Fuzz(func(t *testing.T, input string, n byte, delimiter string) {
		if delimiter == "" || len(delimiter) > 8 {
			return
		}
		const most = 32
		fr := newFramer([]byte(delimiter), most)
		size := cap(fr.buf)
		got := cutAll(fr, input, int(n)+1)
		if cap(fr.buf) != size {
			t.Fatalf("grew to %d", cap(fr.buf))
		}
		parts := strings.Split(input, delimiter)
		for i, want := range parts[:len(parts)-1] {
			if len(want) > most {
				want = want[:most] + "!"
			}
			if i >= len(got) || got[i] != want {
				t.Fatalf("line %d of %q is not %q", i, got, want)
			}
		}
	})
}

func TestFramerAllocatesNothing(t *testing.T) {
	f := newFramer([]byte("\n"), 100)
	line := []byte("21.53,48.2,1013\n")
	if n := testing.AllocsPerRun(1000, func() {
		f.added(copy(f.room(), line))
		if _, _, ok := f.next(); !ok {
			t.Fatal("no line")
		}
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func BenchmarkLine(b *testing.B) {
	input := bytes.Repeat([]byte("21.53,48.2,1013,0.001,true\n"), 2000)
	b.Run("framer", func(b *testing.B) {
		f := newFramer([]byte("\n"), 4096)
		for n := 0; n < b.N; {
			for rest := input; len(rest) > 0 && n < b.N; {
				k := copy(f.room(), rest)
				f.added(k)
				rest = rest[k:]
				for {
					if _, _, ok := f.next(); !ok {
						break
					}
					n++
				}
			}
		}
	})
	b.Run("bufio.Scanner", func(b *testing.B) {
		for n := 0; n < b.N; {
			s := bufio.NewScanner(bytes.NewReader(input))
			for s.Scan() && n < b.N {
				n++
			}
		}
	})
	b.Run("csv to record", func(b *testing.B) {
		c := &config.Source{Parse: "csv", Fields: []config.Field{{Name: "a", Unit: "Cel"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}}
		parse := newParser(c)
		line := []byte("21.53,48.2,1013,0.001,true")
		var r record.Record
		r.Kind = record.Reading
		var buf []byte
		for b.Loop() {
			r.Fields, r.Why = parse(r.Fields[:0], line)
			buf = record.Append(buf[:0], &r)
		}
	})
}

func TestCSVAllocatesNothing(t *testing.T) {
	parse := newParser(&config.Source{Parse: "csv", Fields: []config.Field{{Name: "a", Unit: "Cel"}, {Name: "b"}}})
	line := []byte("21.53,48")
	fields := make([]record.Field, 0, 4)
	buf := make([]byte, 0, 256)
	r := record.Record{Kind: record.Reading, Source: "s"}
	if n := testing.AllocsPerRun(1000, func() {
		r.Fields, r.Why = parse(fields[:0], line)
		buf = record.Append(buf[:0], &r)
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func show(fields []record.Field, why string) string {
	s := string(record.AppendJSON(nil, &record.Record{Kind: record.Reading, Time: record.Time{Set: true}, Fields: fields}))
	s = s[strings.Index(s, `"fields":`)+9 : len(s)-1]
	if why != "" {
		s += " " + why
	}
	return s
}

func TestParsers(t *testing.T) {
	csv := config.Source{Parse: "csv", Fields: []config.Field{{Name: "a", Unit: "V"}, {Name: "b"}}}
	kv := config.Source{Parse: "kv", Fields: []config.Field{{Name: "id", Unit: "V"}}}
	re := config.Source{Parse: "regexp", Pattern: regexp.MustCompile(`(?P<t>-?[0-9.]+)C(?: (?P<h>[0-9]+)%)?`), Fields: []config.Field{{Name: "t", Unit: "Cel"}}}
	js := config.Source{Parse: "json"}
	number := config.Source{Parse: "text", Fields: []config.Field{{Name: "w", Unit: "kg"}}}
	for _, c := range []struct {
		c          config.Source
		line, want string
	}{
		{csv, "1,2", `{"a":1,"b":2}`},
		{csv, " 1.50 , x y ", `{"a":1.5,"b":"x y"}`},
		{csv, `"1","a,""b"`, `{"a":1,"b":"a,\"b"}`},
		{csv, `1,"`, `{"text":"1,\""} not CSV`},
		{csv, "9223372036854775807,9223372036854775808", `{"a":9223372036854775807,"b":9223372036854776000}`},
		{csv, "0x10,1_000", `{"a":"0x10","b":"1_000"}`},
		{csv, "007,007", `{"a":7,"b":"007"}`},
		{csv, "1e3,-.5", `{"a":1000,"b":-0.5}`},
		{csv, ",", `{"a":"","b":""}`},
		{csv, "inf,true", `{"b":true}`},
		{csv, "1", `{"a":1,"text":"1"} expected 2 fields, found 1`},
		{kv, "id=007;x:2, y = 3", `{"id":7,"x":2,"y":3}`},
		{kv, `s="a b=c" t=`, `{"s":"a b=c","t":""}`},
		{kv, "a=1 a=2", `{"a":2}`},
		{kv, "a b=1", `{"text":"a b=1"} expected name=value`},
		{kv, `a="x`, `{"text":"a=\"x"} a quote is not closed`},
		{kv, "=1", `{"text":"=1"} expected name=value`},
		{re, "now -3.5C 40%", `{"t":-3.5,"h":40}`},
		{re, "7C", `{"t":7}`},
		{re, "?", `{"text":"?"} does not match the pattern`},
		{js, `{"a":1.0,"b":[1,{"c":true}],"d":{}}`, `{"a":1,"b.0":1,"b.1.c":true}`},
		{js, `{"a":1} x`, `{"text":"{\"a\":1} x"} not a JSON object`},
		{js, `5`, `{"text":"5"} not a JSON object`},
		{js, strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), `{"text":"` + strings.Repeat(`{\"a\":`, 20) + "1" + strings.Repeat("}", 20) + `"} not a JSON object`},
		{number, " 40.5 ", `{"w":40.5}`},
		{number, "heavy", `{"w":"heavy"}`},
	} {
		fields, why := newParser(&c.c)(nil, []byte(c.line))
		if got := show(fields, why); got != c.want {
			t.Errorf("%s %q:\n%s, expected\n%s", c.c.Parse, c.line, got, c.want)
		}
	}
}

func FuzzParsers(f *testing.F) {
	sources := []config.Source{
		{Parse: "csv", Fields: []config.Field{{Name: "a", Unit: "V"}, {Name: "b"}}},
		{Parse: "kv"}, {Parse: "json"}, {Parse: "text"},
		{Parse: "regexp", Pattern: regexp.MustCompile(`(?P<t>.*)=(?P<h>.*)`)},
	}
	for _, s := range []string{"1,2", `a="x" b:1`, `{"a":[1,null,{"b":true}]}`, "x=\xff", "nan,inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for i := range sources {
			fields, _ := newParser(&sources[i])(nil, []byte(line))
			if len(fields) > maxFields+1 {
				t.Fatalf("%d fields", len(fields))
			}
			var d record.Decoder
			var r record.Record
			p := record.Append(nil, &record.Record{Kind: record.Reading, Fields: fields})
			if err := d.Decode(p, &r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Random bytes between lines cost no line behind the next delimiter.
func TestFramerResynchronises(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := newFramer([]byte("\n"), 64)
	for i := range 500 {
		noise := make([]byte, rng.IntN(300))
		for j := range noise {
			noise[j] = byte(rng.IntN(255))
			if noise[j] == '\n' {
				noise[j] = 0
			}
		}
		want := fmt.Sprintf("line %d", i)
		lines := cutAll(f, string(noise)+"\n"+want+"\n", 1+rng.IntN(50))
		if got := lines[len(lines)-1]; got != want {
			t.Fatalf("%q, expected %q", got, want)
		}
	}
	if f.thrown == 0 {
		t.Error("nothing was thrown away")
	}
}
