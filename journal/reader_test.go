package journal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsSyncedIsReadBesideTheWriter(t *testing.T) {
	dir := filepath.Join(memory(t), "j")
	j := newBench(t, dir).open(t)
	const n = 5000
	rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
	defer rd.Close()
	seq := uint64(0)
	for i := range n {
		write(t, j, reading(i))
		if i%7 != 0 {
			continue
		}
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		for {
			e, err := rd.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq++; e.Seq != seq || string(e.Payload) != string(reading(int(seq-1))) {
				t.Fatalf("read %d, expected %d", e.Seq, seq)
			}
		}
		if seq != uint64(i+1) {
			t.Fatalf("read up to %d, synced are %d", seq, i+1)
		}
	}
	finish(t, j)
	if got := inspect(t, dir); len(got.readings()) != n || len(got.damage)+len(got.missing) != 0 {
		t.Fatalf("found %d of %d, damage %v, missing %v", len(got.readings()), n, got.damage, got.missing)
	}
	if len(segmentFiles(t, dir)) < 2 {
		t.Error("the journal never rolled")
	}
}

func TestRecordsThatAreNotSyncedAreNotRead(t *testing.T) {
	j := newBench(t, memory(t)).open(t)
	defer finish(t, j)
	rd := j.Reader(1, nil)
	defer rd.Close()
	write(t, j, reading(1))
	if _, err := rd.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("a record that is not synced was read: %v", err)
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if e, err := rd.Next(); err != nil || e.Seq != 1 {
		t.Fatalf("%d, %v", e.Seq, err)
	}
}

// A reader on its own goroutine sees each record once while segments are
// rolled, evicted and abandoned.
func TestReaderBesideTheWriter(t *testing.T) {
	b := newBench(t, memory(t))
	b.MaxBytes = 1 << 20
	j := b.open(t)
	var wg sync.WaitGroup
	const n = 20_000
	done := make(chan struct{})
	wg.Go(func() {
		rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
		defer rd.Close()
		last := uint64(0)
		for {
			e, err := rd.Next()
			if errors.Is(err, io.EOF) {
				select {
				case <-done:
					if j.Synced() == last {
						return
					}
				default:
				}
				continue
			}
			if err != nil {
				if errors.Is(err, os.ErrNotExist) { // evicted under its hands
					continue
				}
				t.Error(err)
				return
			}
			if e.Seq <= last {
				t.Errorf("seq %d behind %d", e.Seq, last)
			}
			last = e.Seq
			if last%64 == 0 {
				if err := j.Ack(last); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range n {
		write(t, j, reading(i))
		if i%100 == 0 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if i%5000 == 4999 {
			j.leave() // as after an error of the card
		}
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	close(done)
	wg.Wait()
	finish(t, j)
}

// Damage that comes after the start is told by the reader, once.
func TestDamageBehindTheReadersBack(t *testing.T) {
	dir := memory(t)
	b := newBench(t, dir)
	j := b.open(t)
	for i := range 3000 {
		write(t, j, reading(i))
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	file := segmentFiles(t, dir)[0]
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 100), 20_000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	type span struct{ a, b uint64 }
	var told []span
	got := 0
	for range 2 {
		got = 0
		rd := j.Reader(1, func(a, b uint64) { told = append(told, span{a, b}) })
		for {
			_, err := rd.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		rd.Close()
	}
	if len(told) != 1 || uint64(got)+told[0].b-told[0].a+1 != 3000 {
		t.Errorf("read %d, told %v", got, told)
	}
	finish(t, j)
}

// badPages is a file of which the card does not give some pages.
type badPages struct {
	io.ReaderAt
	bad map[int64]bool
}

func (b *badPages) ReadAt(p []byte, off int64) (int, error) {
	for at := off / page * page; at < off+int64(len(p)); at += page {
		if b.bad[at] {
			n, _ := b.ReaderAt.ReadAt(p[:max(0, at-off)], off)
			return n, unix.EIO
		}
	}
	return b.ReaderAt.ReadAt(p, off)
}

// A page that the card refuses is an error as long as the whole card may be
// gone; once it takes data again, only the page's records are lost, by name.
func TestAPageCannotBeRead(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	for i := range 1500 {
		write(t, j, reading(i))
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	var lost [][2]uint64
	rd := j.Reader(1, func(first, last uint64) { lost = append(lost, [2]uint64{first, last}) })
	defer rd.Close()
	if err := rd.open(); err != nil {
		t.Fatal(err)
	}
	rd.s.r = &badPages{rd.f, map[int64]bool{headBytes + 2*page: true, headBytes + 3*page: true}}
	read := uint64(0)
	next := func() error {
		for {
			if _, err := rd.Next(); err != nil {
				return err
			}
			read++
		}
	}
	for range 3 {
		if err := next(); !errors.Is(err, unix.EIO) {
			t.Fatalf("Next: %v", err)
		}
	}
	if len(lost) != 0 || read == 0 {
		t.Fatalf("read %d, lost %v", read, lost)
	}
	write(t, j, reading(1500))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := next(); !errors.Is(err, io.EOF) {
		t.Fatalf("Next: %v", err)
	}
	if len(lost) != 1 {
		t.Fatalf("lost %v", lost)
	}
	gone := lost[0][1] - lost[0][0] + 1
	if read+gone != 1501 || gone < 2*page/40 || gone > 2*page/20+2 {
		t.Errorf("read %d, lost %v", read, lost)
	}
	finish(t, j)
}

// A Walk reads on behind what the card refuses.
func TestAWalkOverAPageThatCannotBeRead(t *testing.T) {
	h := newHurtJournal(t, 1200, 400)
	hd, err := parseHead(h.content)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(headBytes); at < int64(len(h.content)); at += page {
		s := newScan(&badPages{bytes.NewReader(h.content), map[int64]bool{at: true}}, &hd, int64(len(h.content)), 0)
		s.forgiving = true
		n, touched := 0, 0
		for {
			_, _, _, err := s.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		for _, f := range h.frames {
			if int64(f[1]) > at && int64(f[0]) < at+page {
				touched++
			}
		}
		if n+touched != len(h.frames) {
			t.Errorf("page at %d: %d of %d read, %d touch it", at, n, len(h.frames), touched)
		}
	}
}

// The head stands twice, for a page that the card does not give.
func TestAHeadThatCannotBeRead(t *testing.T) {
	h := newHurtJournal(t, 1, 1)
	for at := int64(0); at < headBytes; at += page {
		if _, err := readHead(&badPages{bytes.NewReader(h.content), map[int64]bool{at: true}}); err != nil {
			t.Errorf("without the page at %d: %v", at, err)
		}
	}
	if _, err := readHead(&badPages{bytes.NewReader(h.content), map[int64]bool{0: true, page: true}}); !errors.Is(err, unix.EIO) {
		t.Errorf("without both: %v", err)
	}
}
