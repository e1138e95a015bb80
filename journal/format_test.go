package journal

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"edgeagg/internal/record"
)

// The worked example of FORMAT.md is what the code writes and reads.
func TestTheExampleInFormatMD(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```hex\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("no example")
	}
	var digits strings.Builder
	for line := range strings.Lines(string(block[1])) {
		bytes, _, _ := strings.Cut(line, " ; ")
		digits.WriteString(strings.ReplaceAll(bytes, " ", ""))
	}
	want, err := hex.DecodeString(strings.TrimSpace(digits.String()))
	if err != nil {
		t.Fatal(err)
	}
	payload := record.Append(nil, &record.Record{
		Kind: record.Reading, Source: "outside", Time: record.Time{Wall: 1795428000123456, Mono: 3600000000, Set: true},
		Fields: []record.Field{{Name: "temperature", Num: 21.53}, {Name: "n", Type: record.Int, Int: 7}},
	})
	got := appendFrame(nil, saltSum(0x0123456789abcdef), 41, payload)
	if string(got) != string(want) {
		t.Fatalf("FORMAT.md has\n%x, the code writes\n%x", want, got)
	}
	p := parser{salted: saltSum(0x0123456789abcdef), longest: 4096}
	back, seq, n := p.parse(want, 40, 50)
	if n != len(want) || seq != 41 || string(back) != string(payload) {
		t.Fatalf("read seq %d, %d of %d bytes", seq, n, len(want))
	}
	var d record.Decoder
	var r record.Record
	if err := d.Decode(back, &r); err != nil {
		t.Fatal(err)
	}
	r.Seq = seq
	if j := string(record.AppendJSON(nil, &r)); !strings.Contains(string(text), j) {
		t.Errorf("FORMAT.md does not have %s", j)
	}
}
