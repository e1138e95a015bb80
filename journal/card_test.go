package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

// feeder hands readings over as the aggregator does: what was not taken comes again.
type feeder struct {
	j     *Journal
	taken int // readings that Write took
}

func (f *feeder) write(n int) error {
	var recs [][]byte
	for i := range n {
		recs = append(recs, wide(f.taken+i))
	}
	k, err := f.j.Write(recs)
	f.taken += k
	return err
}

// wide is a reading of some 3 KiB.
func wide(n int) []byte {
	return record.Append(nil, &record.Record{
		Kind: record.Reading, Source: "s", Time: record.Time{Wall: 1, Mono: 1, Set: true},
		Fields: []record.Field{{Name: "n", Type: record.Int, Int: int64(n)}, {Name: "text", Type: record.String, Text: strings.Repeat("x", 3000)}},
	})
}

// each checks that readings 0 to n−1 stand there once, in their order.
func (f found) each(t *testing.T, n int) {
	t.Helper()
	got := f.readings()
	if len(got) != n {
		t.Errorf("%d readings were taken, %d are there", n, len(got))
	}
	for i, v := range got {
		if i != v {
			t.Fatalf("reading %d stands in the place of %d", v, i)
		}
	}
	for _, m := range f.missing {
		t.Errorf("missing %d-%d %s", m.First, m.Last, m.Reason)
	}
}

// The card is full and there is nothing to evict: Write says so. Once there is
// room again it goes on, and nothing is lost or doubled.
func TestTheCardIsFull(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := tmpfs(t, "2m")
	b := newBench(t, filepath.Join(dir, "journal"))
	b.SegmentBytes = 8 << 20
	f := feeder{j: b.open(t)}
	if err := f.write(10); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = f.write(7)
	}
	for range 5 { // trying again does not make it worse
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("on a full card: %v", err)
		}
		err = f.write(7)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := f.write(7); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
	}
	if n := len(segmentFiles(t, b.Dir)); n > 2 {
		t.Errorf("%d segments", n)
	}
	if err := f.j.Sync(); err != nil {
		t.Fatal(err)
	}
	if f.j.Synced() != uint64(f.taken) {
		t.Errorf("synced up to %d of %d", f.j.Synced(), f.taken)
	}
	finish(t, f.j)
	inspect(t, b.Dir).each(t, f.taken)
}

// The card is full with segments: the oldest makes room, by name, and the
// newest data is taken.
func TestTheCardIsFullOfTheJournal(t *testing.T) {
	if !withMounts(t) {
		return
	}
	b := newBench(t, tmpfs(t, "2m"))
	f := feeder{j: b.open(t)}
	for f.taken < 2000 {
		if err := f.write(7); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, f.j)
	got := inspect(t, b.Dir)
	r := got.readings()
	if len(r) < 300 || r[len(r)-1] != f.taken-1 || r[0] != f.taken-len(r) {
		t.Errorf("%d readings, %d to %d", len(r), r[0], r[len(r)-1])
	}
	gone := int64(0)
	for _, g := range got.gaps(record.Evicted) {
		gone += g.Count
	}
	if gone == 0 || len(got.missing) != 0 {
		t.Errorf("%d named as evicted, missing %+v", gone, got.missing)
	}
}

// MinFree stays free for the rest of the system.
func TestMinFreeStaysFree(t *testing.T) {
	if !withMounts(t) {
		return
	}
	b := newBench(t, tmpfs(t, "4m"))
	b.MinFree = 2 << 20
	f := feeder{j: b.open(t)}
	var st unix.Statfs_t
	for f.taken < 2000 {
		if err := f.write(7); err != nil {
			t.Fatal(err)
		}
		if err := unix.Statfs(b.Dir, &st); err != nil {
			t.Fatal(err)
		}
		if free := int64(st.Bavail) * int64(st.Bsize); free < b.MinFree { //nolint:unconvert // an int32 on 32-bit boards
			t.Fatalf("%d bytes are free", free)
		}
	}
	if f.j.Bytes() < 1<<20 {
		t.Errorf("only %d bytes are kept", f.j.Bytes())
	}
	finish(t, f.j)
}

// On a read-only card the journal opens and is read; Write fails until the
// card takes data again.
func TestTheCardIsReadOnly(t *testing.T) {
	if !withMounts(t) {
		return
	}
	b := newBench(t, tmpfs(t, "4m"))
	f := feeder{j: b.open(t)}
	if err := f.write(3); err != nil {
		t.Fatal(err)
	}
	kill(f.j)
	remount(t, b.Dir, unix.MS_RDONLY, "")
	f.j = b.open(t)
	if f.j.Synced() != 3 {
		t.Errorf("synced up to %d", f.j.Synced())
	}
	rd := f.j.Reader(1, nil)
	defer rd.Close()
	for seq := uint64(1); seq <= 3; seq++ {
		if e, err := rd.Next(); err != nil || e.Seq != seq {
			t.Errorf("read %d: %v", e.Seq, err)
		}
	}
	for range 3 {
		if err := f.write(1); !errors.Is(err, unix.EROFS) {
			t.Errorf("Write: %v", err)
		}
		if err := f.j.Ack(2); !errors.Is(err, unix.EROFS) {
			t.Errorf("Ack: %v", err)
		}
	}
	inspect(t, b.Dir).each(t, 3)
	remount(t, b.Dir, 0, "size=4m")
	if err := f.write(3); err != nil {
		t.Fatal(err)
	}
	if err := f.j.Ack(2); err != nil {
		t.Error(err)
	}
	finish(t, f.j)
	inspect(t, b.Dir).each(t, 6)
	if _, seq, _ := readCursor(filepath.Join(b.Dir, cursorName)); seq != 2 {
		t.Errorf("cursor %d", seq)
	}
}

// The card answers a flush with an error: a real ext4 on a device that takes
// no data any more. What Sync could not make safe is not safe, whatever a later
// fdatasync says, and stands in a new segment once the card works.
func TestTheCardFailsToSync(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("needs root for a device of its own: TestSyncFails stands in")
		return
	}
	if !withMounts(t) {
		return
	}
	back := tmpfs(t, "20m")
	img := filepath.Join(back, "img")
	file, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(24 << 20); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "packed_meta_blocks=1,nodiscard,lazy_itable_init=0", img)
	// Where the file system keeps its own data the device never fails.
	if _, err := file.WriteAt(readFile(t, img)[:8<<20], 0); err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(t.TempDir(), "ext4")
	if err := os.Mkdir(card, 0o750); err != nil {
		t.Fatal(err)
	}
	mount := func() { command(t, "mount", "-o", "loop,errors=continue", img, card) }
	mount()
	t.Cleanup(func() { command(t, "umount", card) })

	b := newBench(t, filepath.Join(card, "journal"))
	b.SegmentBytes = 1 << 20
	f := feeder{j: b.open(t)}
	for range 10 {
		if err := errors.Join(f.write(50), f.j.Sync()); err != nil {
			t.Fatal(err)
		}
	}
	ballast, err := os.Create(filepath.Join(back, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for err == nil {
		_, err = ballast.Write(make([]byte, page))
	}
	if err := f.write(10); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := f.j.Sync(); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) || f.j.Synced() != 500 {
			t.Errorf("Sync: %v, synced up to %d", err, f.j.Synced())
		}
	}
	if err := ballast.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := f.write(50); err != nil {
		t.Fatal(err)
	}
	finish(t, f.j)
	command(t, "umount", card) // and with it the page cache
	mount()
	inspect(t, b.Dir).each(t, f.taken)
}

// refuse makes fdatasync fail until the test ends, or calls again.
func refuse(t *testing.T, err error) (again func()) {
	real := fdatasync
	fdatasync = func(f *os.File) error { return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err} }
	again = func() { fdatasync = real }
	t.Cleanup(again)
	return again
}

// The card refuses fdatasync once: Sync says so, and nothing counts as synced
// until it stands in a new segment, under the same numbers.
func TestSyncFails(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, j, reading(1), reading(2))
	again := refuse(t, unix.EIO)
	if err := j.Sync(); !errors.Is(err, unix.EIO) {
		t.Fatalf("Sync: %v", err)
	}
	if j.Synced() != 1 {
		t.Fatalf("synced up to %d", j.Synced())
	}
	again()
	write(t, j, reading(3), stop())
	if got := j.Synced(); got != 3 {
		t.Errorf("synced up to %d: a new segment begins with what is safe", got)
	}
	finish(t, j)
	got := inspect(t, b.Dir)
	got.each(t, 4)
	if len(segmentFiles(t, b.Dir)) != 2 || len(got.damage) != 0 {
		t.Errorf("%d segments, damage %v", len(segmentFiles(t, b.Dir)), got.damage)
	}
}

// A segment got its name, but the folder could not be synced: it is there, and
// counts for nothing beside the one that was made in its place.
func TestTheFolderCannotBeSynced(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	real := fsync
	fsync = func(f *os.File) error {
		if f == j.dir {
			return unix.EIO
		}
		return real(f)
	}
	defer func() { fsync = real }()
	if _, err := j.Write([][]byte{reading(0)}); !errors.Is(err, unix.EIO) {
		t.Fatalf("Write: %v", err)
	}
	fsync = real
	write(t, j, reading(0), reading(1), stop())
	finish(t, j)
	if n := len(segmentFiles(t, b.Dir)); n < 2 {
		t.Fatalf("%d segments", n)
	}
	inspect(t, b.Dir).each(t, 2)
	j = b.open(t)
	if j.NextSeq() != 4 || j.Synced() != 3 {
		t.Errorf("next %d, synced %d", j.NextSeq(), j.Synced())
	}
	finish(t, j)
}

// What the segment that could not be synced holds beyond is never read, also
// after a restart: here another record than the one that counts.
func TestALeftSegmentIsReadUpToTheNext(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	// A write that fails half way: its frames are in the file, nothing was taken.
	half := appendFrame(appendFrame(nil, j.salted, 2, reading(77)), j.salted, 3, reading(78))
	if _, err := j.f.WriteAt(half, whole(j.off)); err != nil {
		t.Fatal(err)
	}
	left := readFile(t, j.f.Name())
	name := j.f.Name()
	j.leave()
	write(t, j, reading(1), reading(2))
	if err := os.WriteFile(name, left, 0o600); err != nil { // as if it had not been cut
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
		for seq := uint64(1); seq <= 3; seq++ {
			e, err := rd.Next()
			if err != nil || e.Seq != seq || !bytes.Equal(e.Payload, reading(int(seq-1))) {
				t.Errorf("read %d %v: %v", e.Seq, e.Payload, err)
			}
		}
		rd.Close()
		kill(j)
		j = b.open(t)
	}
	kill(j)
	got := inspect(t, b.Dir)
	got.each(t, 3)
	if len(got.damage) != 0 {
		t.Errorf("damage %+v", got.damage)
	}
}

// Records found at start cannot be made safe where they are: they are copied
// into a new segment before they count as synced, each with its boot's clock.
func TestRecordsFoundCannotBeSynced(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, j, reading(2))
	kill(j)
	b.Boot = ID{2}
	again := refuse(t, unix.EIO)
	j = b.open(t)
	if j.Synced() != 0 {
		t.Errorf("synced up to %d", j.Synced())
	}
	again()
	write(t, j, reading(3))
	if j.Synced() < 3 {
		t.Errorf("synced up to %d", j.Synced())
	}
	write(t, j, stop())
	rd := j.Reader(1, nil)
	for n := range 3 {
		if e, err := rd.Next(); err != nil || e.Seq != uint64(n+1) || rd.at.boot != (ID{1}) || rd.at.number != 2 {
			t.Errorf("read %d from segment %d: %v", e.Seq, rd.at.number, err)
		}
	}
	rd.Close()
	finish(t, j)
	if r := inspect(t, b.Dir); fmt.Sprint(r.readings()) != "[0 1 2 3]" || len(r.gaps(record.Power)) != 1 {
		t.Errorf("readings %v, %v", r.readings(), r.order)
	}
}

// Somebody removes the segment that is being written: what was not synced is
// written again, and what went with the file is told to the reader.
func TestTheOpenSegmentIsRemoved(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, j, reading(2))
	if err := os.Remove(segmentFiles(t, b.Dir)[0]); err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(); err == nil {
		t.Error("Sync of a removed segment succeeded")
	}
	if err := j.Sync(); err != nil || j.Synced() != 3 {
		t.Errorf("synced up to %d: %v", j.Synced(), err)
	}
	var lost []uint64
	rd := j.Reader(1, func(a, b uint64) { lost = append(lost, a, b) })
	defer rd.Close()
	if e, err := rd.Next(); err != nil || e.Seq != 3 || fmt.Sprint(lost) != "[1 2]" {
		t.Errorf("read %d, lost %v: %v", e.Seq, lost, err)
	}
	finish(t, j)
}
