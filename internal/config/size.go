package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var sizes = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

// size takes a string of bytes, KiB, MiB or GiB, or an integer of bytes, from
// low to high; 0 too where zero says what that means.
func size[T int | int64](to *T, low, high int64, zero string) func(*value) {
	return func(v *value) {
		n, ok := int64(0), false
		switch v.kind {
		case integerKind:
			n, ok = v.integer()
		case stringKind:
			n, ok = parseSize(v.text)
		}
		if !ok || (n < low || n > high) && (n != 0 || zero == "") {
			want := fmt.Sprintf("a size from %s to %s, for example \"%s\"", showSize(low), showSize(high), showSize(max(low, 64<<10)))
			if zero != "" {
				want += fmt.Sprintf(", or \"0\": %s", zero)
			}
			v.expected("%s", want)
			return
		}
		*to = T(n)
	}
}

func parseSize(s string) (int64, bool) {
	for _, u := range sizes {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		if strings.Trim(digits, "0123456789.") != "" {
			return 0, false
		}
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil || f*float64(u.bytes) > math.MaxInt64/2 {
			return 0, false
		}
		return int64(f * float64(u.bytes)), true
	}
	return 0, false
}

func showSize[T int | int64](n T) string {
	for i := 2; i >= 0; i-- {
		if u := sizes[i]; int64(n) >= u.bytes && int64(n)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(n)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(n), 10)
}
