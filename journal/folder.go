package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	suffix   = ".seg"
	tempName = "new.tmp"
	lockName = "lock"
)

// segmentName is the n-th choice of a name for the segment that begins with
// seq. Names are for people; heads say what is true.
func segmentName(seq uint64, n int) string {
	if n == 0 {
		return fmt.Sprintf("%020d%s", seq, suffix)
	}
	return fmt.Sprintf("%020d-%d%s", seq, n, suffix)
}

// namedSeq is the seq in a segment's name, 0 if it is not one that a journal
// would give.
func namedSeq(name string) uint64 {
	digits, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(name), suffix), "-")
	n, err := strconv.ParseUint(digits, 10, 52)
	if err != nil || len(digits) != 20 {
		return 0
	}
	return n
}

// A stranger is a file that is called a segment and cannot be read as one of
// this journal.
type stranger struct {
	name  string
	bytes int64
	err   error
}

// list reads the heads of all segments in dir, in the order of their records.
func list(dir string) (segs []segment, strangers []stranger, err error) {
	const tries = 8
	for try := 1; ; try++ {
		var gone bool
		if segs, strangers, gone, err = readHeads(dir); err != nil {
			return nil, nil, err
		}
		if !gone || try == tries { // gone: the writer made room, look again
			break
		}
	}
	// Of two that begin alike the later one counts: it was written because
	// the earlier could not be synced. Of copies the longer one does.
	slices.SortFunc(segs, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.number, b.number), cmp.Compare(a.bytes, b.bytes))
	})
	return segs, strangers, nil
}

// readHeads reads the heads of all segments in dir; gone tells that one was
// removed meanwhile.
func readHeads(dir string) (segs []segment, strangers []stranger, gone bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, false, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		h, size, err := headOf(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			gone = true
		case err != nil:
			strangers = append(strangers, stranger{name, size, err})
		default:
			segs = append(segs, segment{head: h, name: name, bytes: size})
		}
	}
	return segs, strangers, gone, nil
}

// ours tells which journal's folder it is and keeps only the segments of that
// journal and of those it goes on from. It is the one that the cursor names or
// one that goes on from it; else one of this board, if machine is not 0; else
// the one with most segments.
func ours(segs []segment, cursor ID, machine uint64) (kept []segment, id ID, foreign []stranger) {
	prev := make(map[ID]ID)
	chain := func(id ID) map[ID]bool {
		c := make(map[ID]bool)
		for ; id != (ID{}) && !c[id]; id = prev[id] {
			c[id] = true
		}
		return c
	}
	for _, s := range segs {
		prev[s.journal] = s.prev
	}
	var best [3]int // named by the cursor, of this board, segments
	for candidate := range prev {
		var rank [3]int
		in := chain(candidate)
		if in[cursor] {
			rank[0] = 1
		}
		for _, s := range segs {
			if s.journal == candidate && s.machine == machine {
				rank[1] = 1
			}
			if in[s.journal] {
				rank[2]++
			}
		}
		if c := slices.Compare(rank[:], best[:]); c > 0 || c == 0 && bytes.Compare(candidate[:], id[:]) < 0 {
			best, id = rank, candidate
		}
	}
	in := chain(id)
	for _, s := range segs {
		if in[s.journal] {
			kept = append(kept, s)
		} else {
			foreign = append(foreign, stranger{s.name, s.bytes, fmt.Errorf("belongs to journal %s", s.journal)})
		}
	}
	return kept, id, foreign
}

// lock opens the folder, made if it is not there, and takes it for this
// process. mark is what setMark left, 0 if nothing.
func lock(dir string) (d *os.File, mark uint64, err error) {
	if err = os.MkdirAll(dir, 0o750); err == nil {
		d, err = os.Open(dir)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, 0, fmt.Errorf("journal folder: %w (it has to belong to the user that edgeagg runs as)", err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("journal folder: %w", err)
	}
	p, _ := os.ReadFile(filepath.Join(dir, lockName))
	pid, rest, _ := strings.Cut(string(p), "\n")
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, 0, fmt.Errorf("journal %s is in use by process %s", dir, cmp.Or(pid, "unknown"))
		}
		return nil, 0, fmt.Errorf("lock journal %s: %w", dir, err)
	}
	mark, _ = strconv.ParseUint(strings.TrimSpace(rest), 10, 52)
	setMark(dir, mark)
	return d, mark, nil
}

// setMark notes in the lock file which process has the folder and with which
// seq its newest segment begins, so that its loss shows. Nothing depends on
// it: a card that takes nothing may still be read.
func setMark(dir string, seq uint64) {
	_ = os.WriteFile(filepath.Join(dir, lockName), fmt.Appendf(nil, "%d\n%d\n", os.Getpid(), seq), 0o640)
}

// fdatasync has the card hold what f holds. It is a variable so that tests can
// be a card that refuses.
var fdatasync = func(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// fsync is a variable for the same reason.
var fsync = (*os.File).Sync

// linked tells whether f still has a name: what is written to a file that was
// removed is as good as lost.
func linked(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	if st.Nlink == 0 {
		return fmt.Errorf("segment %s was removed by another program", f.Name())
	}
	return nil
}
