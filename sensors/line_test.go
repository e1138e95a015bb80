package sensors

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// cut gives the lines that f finds in data that comes in pieces of n bytes,
// those that are too long with a ! in front.
func cut(f *framer, data []byte, n int) (found []string) {
	for len(data) > 0 {
		k := copy(f.room(), data[:min(n, len(data))])
		f.added(k)
		data = data[k:]
		for {
			line, long, ok := f.next()
			if !ok {
				break
			}
			if long {
				found = append(found, "!"+string(line))
			} else {
				found = append(found, string(line))
			}
		}
	}
	return found
}

func TestFramerCutsLines(t *testing.T) {
	tests := []struct {
		name, delimiter, data string
		most                  int
		want                  []string
	}{
		{"one", "\n", "a\n", 8, []string{"a"}},
		{"several", "\n", "a\nbc\n\nd", 8, []string{"a", "bc", ""}},
		{"carriage return", "\n", "a\r\nb\rc\r\n\r\n", 8, []string{"a", "b\rc", ""}},
		{"only one carriage return", "\n", "a\r\r\n", 8, []string{"a\r"}},
		{"as long as may be", "\n", "12345678\n12345678\r\nx\n", 8, []string{"12345678", "12345678", "x"}},
		{"one byte longer", "\n", "123456789\nx\n", 8, []string{"!12345678", "x"}},
		{"much longer", "\n", strings.Repeat("z", 100_000) + "\nx\n", 8, []string{"!zzzzzzzz", "x"}},
		{"too long twice", "\n", "123456789\n987654321\nx\n", 8, []string{"!12345678", "!98765432", "x"}},
		{"too long and open", "\n", strings.Repeat("z", 100), 8, []string{"!zzzzzzzz"}},
		{"carriage return alone", "\r", "a\r\nb\r", 8, []string{"a", "\nb"}},
		{"two bytes", "\r\n", "a\r\nb\rc\r\n", 8, []string{"a", "b\rc"}},
		{"two bytes as long as may be", "\r\n", "12345678\r\n123456789\r\n", 8, []string{"12345678", "!12345678"}},
		{"three bytes that repeat", "##!", "a###!b##!c", 8, []string{"a#", "b"}},
		{"three bytes, too long", "##!", "123456789##!b##!", 8, []string{"!12345678", "b"}},
		{"zero byte", "\x00", "a\x00b\x00", 8, []string{"a", "b"}},
	}
	for _, test := range tests {
		for _, n := range []int{1, 2, 3, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes at a time", test.name, n), func(t *testing.T) {
				got := cut(newFramer([]byte(test.delimiter), test.most), []byte(test.data), n)
				if !slices.Equal(got, test.want) {
					t.Errorf("found %q, expected %q", got, test.want)
				}
			})
		}
	}
}

// A line that does not end must not cost memory.
func TestFramerKeepsItsBuffer(t *testing.T) {
	f := newFramer([]byte("\n"), 4096)
	before := cap(f.buf)
	piece := bytes.Repeat([]byte("x"), 1000)
	for range 1000 {
		cut(f, piece, 1000)
	}
	if got := cut(f, []byte("\nnext\n"), 10); !slices.Equal(got, []string{"next"}) {
		t.Errorf("found %q behind a line of 1 MB", got)
	}
	if cap(f.buf) != before {
		t.Errorf("the buffer grew from %d to %d bytes", before, cap(f.buf))
	}
}

func TestFramerMakesNoGarbage(t *testing.T) {
	f := newFramer([]byte("\n"), 4096)
	line := []byte("21.53,48.2,101325\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		f.added(copy(f.room(), line))
		for {
			if _, _, ok := f.next(); !ok {
				break
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// The lines are those of a plain split, whatever the pieces are in which the
// bytes come.
func FuzzFramer(f *testing.F) {
	for _, s := range []string{"", "a\n", "a\r\nb\n\n", "123456789012\nx\n", "\r\r\n", strings.Repeat("y", 40) + "\n"} {
		f.Add([]byte(s), "\n", uint8(1))
		f.Add([]byte(s), "\r\n", uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, delimiter string, n uint8) {
		const most = 10
		if delimiter == "" || len(delimiter) > 8 || n == 0 {
			return
		}
		got := cut(newFramer([]byte(delimiter), most), data, int(n))
		parts := strings.Split(string(data), delimiter)
		open := parts[len(parts)-1]
		var want []string
		for _, p := range parts[:len(parts)-1] {
			if delimiter == "\n" {
				p = strings.TrimSuffix(p, "\r")
			}
			if len(p) > most {
				p = "!" + p[:most]
			}
			want = append(want, p)
		}
		// The head of an open line that is already too long may have come.
		if len(got) == len(want)+1 && len(open) > most && got[len(want)] == "!"+open[:most] {
			got = got[:len(want)]
		}
		if !slices.Equal(got, want) {
			t.Errorf("found %q, expected %q", got, want)
		}
	})
}

const benchLine = "$WIMWV,214.8,R,0.1,K,A*28\r\n"

func BenchmarkFramer(b *testing.B) {
	chunk := []byte(strings.Repeat(benchLine, 100))
	f := newFramer([]byte("\n"), 4096)
	b.SetBytes(int64(len(benchLine)))
	b.ReportAllocs()
	for n := 0; n < b.N; {
		f.added(copy(f.room(), chunk))
		for {
			if _, _, ok := f.next(); !ok {
				break
			}
			n++
		}
	}
}

type endless struct{ chunk []byte }

func (e endless) Read(p []byte) (int, error) { return copy(p, e.chunk), nil }

func BenchmarkScanner(b *testing.B) {
	var r io.Reader = endless{[]byte(strings.Repeat(benchLine, 100))}
	s := bufio.NewScanner(r)
	b.SetBytes(int64(len(benchLine)))
	b.ReportAllocs()
	for range b.N {
		s.Scan()
	}
}
