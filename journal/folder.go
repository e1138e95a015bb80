package journal

import (
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

// namedSeq is the seq in a segment's name, 0 if there is none.
func namedSeq(name string) uint64 {
	digits, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(name), suffix), "-")
	n, _ := strconv.ParseUint(digits, 10, 64)
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
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		h, size, err := headOf(name)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				strangers = append(strangers, stranger{name, size, err})
			}
			continue
		}
		segs = append(segs, segment{head: h, name: name, bytes: size})
	}
	// Of two that begin alike the later one counts: it was written because
	// the earlier could not be synced.
	slices.SortFunc(segs, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.made.Mono, b.made.Mono), cmp.Compare(a.made.Wall, b.made.Wall), cmp.Compare(a.bytes, b.bytes))
	})
	return segs, strangers, nil
}

// ours tells which journal's folder it is, preferring the hint, and keeps
// only the segments of that journal and of those it goes on from.
func ours(segs []segment, hint ID) (kept []segment, id ID, foreign []stranger) {
	prev := make(map[ID]ID)
	weight := make(map[ID]int)
	for _, s := range segs {
		prev[s.journal] = s.prev
		weight[s.journal]++
	}
	best := 0
	for _, s := range segs {
		w := weight[s.journal]
		for _, p := range prev {
			if p == s.journal {
				w = 0 // another one goes on from it
			}
		}
		if s.journal == hint {
			w = len(segs) + 1
		}
		if w > best {
			best, id = w, s.journal
		}
	}
	chain := map[ID]bool{}
	for i := id; i != (ID{}) && !chain[i]; i = prev[i] {
		chain[i] = true
	}
	for _, s := range segs {
		if chain[s.journal] {
			kept = append(kept, s)
		} else {
			foreign = append(foreign, stranger{s.name, s.bytes, fmt.Errorf("belongs to journal %s", s.journal)})
		}
	}
	return kept, id, foreign
}

// lock opens the folder, made if it is not there, and takes it for this process.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); errors.Is(err, unix.EACCES) {
		d.Close()
		return nil, fmt.Errorf("journal folder %s: no permission to write (chown it to the user that runs edgeagg)", dir)
	}
	name := filepath.Join(dir, lockName)
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid, _ := os.ReadFile(name)
			return nil, fmt.Errorf("journal %s is in use by process %s", dir, cmp.Or(strings.TrimSpace(string(pid)), "unknown"))
		}
		return nil, fmt.Errorf("lock journal %s: %w", dir, err)
	}
	// For messages only: a card that takes nothing may still be read.
	_ = os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o640)
	return d, nil
}

func fdatasync(f *os.File) error {
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

func fsync(f *os.File) error { return f.Sync() }
