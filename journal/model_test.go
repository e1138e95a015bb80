package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Kills, power cuts, cuts of the file, moves of the cursor and clean stops in
// any order: no number names two records, and each hole has its gap.
func TestAnyOrderOfTroubles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		b := newBench(t, memory(t))
		used := map[uint64]string{}
		n := 0
		for life := range 8 {
			j := b.open(t)
			for range rng.IntN(200) {
				p := reading(n)
				n++
				write(t, j, p)
				if rng.IntN(5) == 0 {
					if err := j.Sync(); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(40) == 0 {
					j.leave()
				}
				if rng.IntN(20) == 0 && j.Synced() > j.Acked() {
					if err := j.Ack(j.Acked() + 1 + rng.Uint64N(j.Synced()-j.Acked())); err != nil {
						t.Fatal(err)
					}
				}
			}
			if rng.IntN(2) == 0 {
				write(t, j, stop())
				finish(t, j)
			} else {
				kill(j)
			}
			got := inspect(t, b.Dir)
			for seq, r := range got.records {
				s := fmt.Sprint(r.Kind, r.Event, r.Reason, r.Fields)
				if old, ok := used[seq]; ok && old != s {
					t.Fatalf("seq %d was %s and is %s", seq, old, s)
				}
				used[seq] = s
			}
			for _, m := range got.missing {
				if m.Reason == "" {
					t.Fatalf("life %d: no gap names %d-%d", life, m.First, m.Last)
				}
			}
			switch rng.IntN(3) {
			case 0:
				b.Boot[0]++
			case 1:
				files := segmentFiles(t, b.Dir)
				last := files[len(files)-1]
				st, err := os.Stat(last)
				if err != nil {
					t.Fatal(err)
				}
				if cut := st.Size() - rng.Int64N(60); cut > headBytes {
					if err := os.Truncate(last, cut); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}
