package sensors

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// plain is a source's configuration for lines, without a port.
func plain(parse string, fields ...config.Field) *config.Source {
	return &config.Source{
		Name: "x", Kind: "serial", Frame: "line", Delimiter: []byte("\n"), MaxLine: 4096, Parse: parse, Fields: fields,
		Pattern: regexp.MustCompile(`(?P<sign>[-+])?(?P<weight>[0-9a-z.]+) ?kg(?: (?P<state>\w+))?`),
	}
}

// judged is the reading that a line gives, as it is stored.
func judged(c *config.Source, line string) record.Record {
	o := options(newBook())
	s := newSource(c, kinds[c.Kind], &o)
	l := &lines{c: c, parse: newParser(c)}
	var r record.Record
	l.reading(&r, []byte(line), false)
	r.Kind = record.Reading
	s.judge(&r)
	return r
}

func TestParse(t *testing.T) {
	weight := config.Field{Name: "weight", Unit: "kg"}
	stable := config.Field{Name: "stable"}
	third := config.Field{Name: "third"}
	tests := []struct {
		name string
		c    *config.Source
		line string
		want string
	}{
		{"text", plain("text"), "hello, world", `"fields":{"text":"hello, world"}`},
		{"text with a name", plain("text", stable), " ok ", `"fields":{"stable":" ok "}`},
		{"text with a unit", plain("text", weight), " 12.50 ", `"fields":{"weight":12.5}`},
		{"text with a unit, no number", plain("text", weight), "12.5.1", `"quality":"bad","why":"weight is not a number","fields":{"text":"12.5.1"}`},
		{"text, not UTF-8", plain("text"), "caf\xe9 \xff\xfe", `"quality":"bad","why":"not UTF-8","fields":{"text":"caf\uFFFD \uFFFD"}`},

		{"csv", plain("csv", weight, stable), "12.5,1", `"fields":{"weight":12.5,"stable":1}`},
		{"csv, blanks", plain("csv", weight, stable), " 12 ,\ttrue ", `"fields":{"weight":12,"stable":true}`},
		{"csv, quotes", plain("csv", stable, third), `"a ""b"", c",false`, `"fields":{"stable":"a \"b\", c","third":false}`},
		{"csv, open quote", plain("csv", stable, third), `"a,b`, `"quality":"bad","why":"not CSV","fields":{"text":"\"a,b"}`},
		{"csv, too few", plain("csv", weight, stable, third), "12.5,1", `"quality":"bad","why":"expected 3 fields, found 2","fields":{"weight":12.5,"stable":1,"text":"12.5,1"}`},
		{"csv, too many", plain("csv", weight), "12.5,1,2", `"quality":"bad","why":"expected 1 fields, found 3","fields":{"weight":12.5,"text":"12.5,1,2"}`},
		{"csv, text where a number belongs", plain("csv", weight, stable), "??,1", `"quality":"bad","why":"weight is not a number","fields":{"stable":1,"text":"??"}`},
		{"csv, truth where a number belongs", plain("csv", weight, stable), "true,1", `"quality":"bad","why":"weight is not a number","fields":{"stable":1,"text":"true"}`},
		{"csv, nothing where a number belongs", plain("csv", weight, stable), ",1", `"quality":"bad","why":"weight is not a number","fields":{"stable":1}`},
		{"csv, nothing where a text may be", plain("csv", stable, third), ",1", `"fields":{"stable":"","third":1}`},
		{"csv, not a number", plain("csv", weight, stable), "NaN,1", `"quality":"bad","why":"weight is not finite","fields":{"stable":1}`},
		{"csv, infinite", plain("csv", stable, third), "-inf,1", `"quality":"bad","why":"stable is not finite","fields":{"third":1}`},
		{"csv, too big", plain("csv", weight, stable), "1e999,1", `"quality":"bad","why":"weight is not finite","fields":{"stable":1}`},
		{"csv, all infinite", plain("csv", weight), "Infinity", `"quality":"bad","why":"weight is not finite","fields":{}`},
		{"csv, hexadecimal is a text", plain("csv", stable, third), "0x10,1_000", `"fields":{"stable":"0x10","third":"1_000"}`},
		{"csv, whole numbers", plain("csv", stable, third), "9223372036854775807,-0042", `"fields":{"stable":9223372036854775807,"third":-42}`},
		{"csv, too big for a whole number", plain("csv", stable, third), "9223372036854775808,+7", `"fields":{"stable":9223372036854776000,"third":7}`},
		{"csv, forms of a number", plain("csv", stable, third), ".5,-5.e1", `"fields":{"stable":0.5,"third":-50}`},
		{"csv, no numbers", plain("csv", stable, third), "-,1-2", `"fields":{"stable":"-","third":"1-2"}`},
		{"csv, nothing at all", plain("csv", weight, stable), ",", `"quality":"bad","why":"weight is not a number","fields":{"stable":""}`},

		{"json", plain("json"), `{"a":1,"b":2.5,"c":"x","d":true,"e":null,"f":false}`, `"fields":{"a":1,"b":2.5,"c":"x","d":true,"f":false}`},
		{"json, nested", plain("json"), `{"a":{"b":{"c":1}},"l":[1,{"m":2},[3]]}`, `"fields":{"a.b.c":1,"l.0":1,"l.1.m":2,"l.2.0":3}`},
		{"json, twice the same name", plain("json"), `{"a":1,"a":2}`, `"fields":{"a":2}`},
		{"json, big", plain("json"), `{"a":9223372036854775807,"b":12345678901234567890}`, `"fields":{"a":9223372036854775807,"b":12345678901234567000}`},
		{"json, text where a number belongs", plain("json", weight), `{"weight":"12","a":1}`, `"quality":"bad","why":"weight is not a number","fields":{"a":1,"text":"12"}`},
		{"json, truth where a number belongs", plain("json", weight), `{"weight":true,"a":1}`, `"quality":"bad","why":"weight is not a number","fields":{"a":1}`},
		{"json, array", plain("json"), `[1,2]`, `"quality":"bad","why":"not a JSON object","fields":{"text":"[1,2]"}`},
		{"json, number", plain("json"), `42`, `"quality":"bad","why":"not a JSON object","fields":{"text":"42"}`},
		{"json, cut", plain("json"), `{"a":1,"b`, `"quality":"bad","why":"not a JSON object","fields":{"text":"{\"a\":1,\"b"}`},
		{"json, two", plain("json"), `{"a":1}{"b":2}`, `"quality":"bad","why":"not a JSON object","fields":{"text":"{\"a\":1}{\"b\":2}"}`},
		{"json, empty", plain("json"), `{}`, `"quality":"bad","why":"no values","fields":{}`},
		{"json, too deep", plain("json"), strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), `"quality":"bad","why":"nested deeper than 8","fields":{"text":"` + strings.Repeat(`{\"a\":`, 20) + "1" + strings.Repeat("}", 20) + `"}`},
		{"json, beyond a float", plain("json"), `{"a":1e999,"b":1}`, `"quality":"bad","why":"a is not finite","fields":{"b":1}`},

		{"kv", plain("kv"), "a=1 b=2.5 c=x", `"fields":{"a":1,"b":2.5,"c":"x"}`},
		{"kv, colons and commas", plain("kv"), "a:1, b:2;c: true", `"fields":{"a":1,"b":2,"c":true}`},
		{"kv, blanks", plain("kv"), " a = 1\tb =2 ", `"fields":{"a":1,"b":2}`},
		{"kv, a time as value", plain("kv"), "t=12:30:05 a=1", `"fields":{"t":"12:30:05","a":1}`},
		{"kv, quotes", plain("kv"), `s="a b=c" a=1`, `"fields":{"s":"a b=c","a":1}`},
		{"kv, open quote", plain("kv"), `a=1 s="b`, `"quality":"bad","why":"a quote is not closed","fields":{"a":1,"text":"a=1 s=\"b"}`},
		{"kv, empty value", plain("kv"), "a=,b=2", `"fields":{"a":"","b":2}`},
		{"kv, no name", plain("kv"), "=1", `"quality":"bad","why":"expected name=value","fields":{"text":"=1"}`},
		{"kv, no pair", plain("kv"), "hello", `"quality":"bad","why":"expected name=value","fields":{"text":"hello"}`},
		{"kv, half a pair", plain("kv"), "a=1 hello", `"quality":"bad","why":"expected name=value","fields":{"a":1,"text":"a=1 hello"}`},
		{"kv, two words as name", plain("kv"), "a b=1", `"quality":"bad","why":"expected name=value","fields":{"text":"a b=1"}`},
		{"kv, only what stands between", plain("kv"), " ,; ", `"quality":"bad","why":"no values","fields":{}`},
		{"kv, unit", plain("kv", weight), "weight=x a=1", `"quality":"bad","why":"weight is not a number","fields":{"a":1,"text":"x"}`},
		{"kv, not a number", plain("kv"), "a=nan b=1", `"quality":"bad","why":"a is not finite","fields":{"b":1}`},

		{"kv, a name that is not UTF-8", plain("kv"), "\xff=1", `"quality":"bad","why":"not UTF-8","fields":{"text":"\uFFFD=1"}`},

		{"regexp", plain("regexp"), "= +12.50 kg stable", `"fields":{"sign":"+","weight":12.5,"state":"stable"}`},
		{"regexp, parts", plain("regexp", weight), "7kg", `"fields":{"weight":7}`},
		{"regexp, unit", plain("regexp", weight), "-x kg", `"quality":"bad","why":"weight is not a number","fields":{"sign":"-","text":"x"}`},
		{"regexp, no match", plain("regexp"), "ERR 5", `"quality":"bad","why":"does not match the pattern","fields":{"text":"ERR 5"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := test.want + "}"
			want = strings.ReplaceAll(want, `\uFFFD`, "\uFFFD")
			if got := show(judged(test.c, test.line)); got != want {
				t.Errorf("%q\n gave     %s\n expected %s", test.line, got, want)
			}
		})
	}
}

func TestParseBoundsWhatALineMayHold(t *testing.T) {
	for parse, line := range map[string]string{
		"kv":   many(1000, func(n string) string { return "k" + n + "=1 " }),
		"json": `{` + strings.TrimSuffix(many(1000, func(n string) string { return `"k` + n + `":1,` }), ",") + `}`,
	} {
		r := judged(plain(parse), line)
		if r.Quality != record.Bad || r.Why != "more than 256 values" || len(r.Fields) > maxFields+1 {
			t.Errorf("%s: %v, why %q, with %d fields", parse, r.Quality, r.Why, len(r.Fields))
		}
	}
}

func many(n int, f func(string) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)))
	}
	return b.String()
}

// Names and states that a device sends for ever must not be kept without end.
func TestWordsAreBounded(t *testing.T) {
	w := make(words)
	for i := range 10_000 {
		if s := strings.Repeat("w", i%40) + string(rune(i+'0')); w.text([]byte(s)) != s {
			t.Fatalf("%q became another", s)
		}
	}
	if len(w) > maxWords {
		t.Errorf("%d words are kept", len(w))
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"", "12.5,1", `"a ""b""",2`, `{"a":{"b":[1,"x",null,true]}}`, `a=1 b:"c d", e=`, "+12.50 kg ok", "nan,-inf", "\xff\xfe", `{"\ud800":1e999}`, "9223372036854775808",
	} {
		f.Add(line)
	}
	fields := []config.Field{{Name: "weight", Unit: "kg"}, {Name: "state"}}
	f.Fuzz(func(t *testing.T, line string) {
		for _, parse := range []string{"text", "csv", "json", "kv", "regexp"} {
			r := judged(plain(parse, fields...), line)
			for _, f := range r.Fields {
				if f.Type == record.String && !utf8.ValidString(f.Text) {
					t.Errorf("%s: %q is not UTF-8", parse, f.Text)
				}
				if f.Name == "weight" && f.Type != record.Int && f.Type != record.Float {
					t.Errorf("%s: weight is %v", parse, f)
				}
				if !f.Finite() {
					t.Errorf("%s: %v is not finite", parse, f)
				}
			}
			if (r.Quality == record.Good) != (r.Why == "") {
				t.Errorf("%s: %v, why %q", parse, r.Quality, r.Why)
			}
			if r.Quality == record.Good && (len(r.Fields) == 0 || !utf8.ValidString(line)) {
				t.Errorf("%s: %q is good", parse, line)
			}
			if len(r.Fields) > maxFields+1 {
				t.Errorf("%s: %d fields", parse, len(r.Fields))
			}
		}
	})
}

// hot is the way of a line from the framer to the sink.
func hot(parse, line string, fields ...config.Field) (step func(), s *Source) {
	c := plain(parse, fields...)
	o := options(newBook())
	o.Sink = nowhere{}
	s = newSource(c, kinds[c.Kind], &o)
	l := &lines{c: c, parse: newParser(c), f: newFramer(c.Delimiter, c.MaxLine)}
	rec := new(record.Record)
	return func() {
		l.f.added(copy(l.f.room(), line))
		fresh(rec)
		if err := l.Read(rec); err != nil {
			panic(err)
		}
		s.reading(nil, rec) //nolint:staticcheck // never used: the sink has room
	}, s
}

type nowhere struct{ Sink }

func (nowhere) TryWrite(p []byte) (int, error) { return len(p), nil }

var hotLines = []struct{ parse, line string }{
	{"csv", "21.53,48.2,1013,ok\r\n"},
	{"kv", "temperature=21.53 humidity=48.2 pressure=1013 state=ok\n"},
	{"json", `{"temperature":21.53,"humidity":48.2,"pressure":1013,"state":"ok"}` + "\n"},
	{"text", "ok\n"},
}

func TestALineMakesNoGarbage(t *testing.T) {
	fields := []config.Field{{Name: "temperature", Unit: "Cel"}, {Name: "humidity", Unit: "%RH"}, {Name: "pressure"}, {Name: "state"}}
	for _, h := range hotLines {
		if h.parse == "text" {
			fields = nil
		}
		step, s := hot(h.parse, h.line, fields...)
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations a line", h.parse, n)
		}
		if st := s.Status(); st.Readings == 0 || st.Errors["bad"] != 0 {
			t.Errorf("%s: %+v", h.parse, st)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	fields := []config.Field{{Name: "temperature", Unit: "Cel"}, {Name: "humidity", Unit: "%RH"}, {Name: "pressure"}, {Name: "state"}}
	for _, h := range hotLines[:3] {
		b.Run(h.parse, func(b *testing.B) {
			step, _ := hot(h.parse, h.line, fields...)
			b.ReportAllocs()
			b.SetBytes(int64(len(h.line)))
			for range b.N {
				step()
			}
		})
	}
}
