package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheFolderIsLocked(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	if _, err := Open(b.Options); err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second Open: %v", err)
	}
	finish(t, j)
	finish(t, b.open(t))
}

func TestAnEmptyFolder(t *testing.T) {
	b := newBench(t, memory(t))
	if _, err := Inspect(filepath.Join(b.Dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Inspect of no folder: %v", err)
	}
	w, err := Inspect(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("Next of an empty folder: %v", err)
	}
	j := b.open(t)
	if j.Synced() != 0 || j.First() != 0 || j.NextSeq() != 1 || j.Bytes() != 0 {
		t.Errorf("synced %d, first %d, next %d, %d bytes", j.Synced(), j.First(), j.NextSeq(), j.Bytes())
	}
	if err := j.Sync(); err != nil {
		t.Error(err)
	}
	finish(t, j)
	if n := len(segmentFiles(t, b.Dir)); n != 0 {
		t.Errorf("%d segments without a record", n)
	}
}

func TestAFolderThatIsAFile(t *testing.T) {
	b := newBench(t, filepath.Join(memory(t), "file"))
	if err := os.WriteFile(b.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.Options); !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), b.Dir) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Inspect(b.Dir); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Inspect: %v", err)
	}
}

func TestAFolderOfAnotherUser(t *testing.T) {
	b := newBench(t, memory(t))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, mode := range []os.FileMode{0o311, 0} {
		if err := os.Chmod(b.Dir, mode); err != nil {
			t.Fatal(err)
		}
		me, err := unix.SetfsuidRetUid(65534) // root reads everything
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(b.Options)
		if _, err := unix.SetfsuidRetUid(me); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "belong to the user") {
			t.Errorf("mode %o: Open: %v", mode, err)
		}
	}
}

func TestOptionsThatDoNotFit(t *testing.T) {
	for _, change := range []func(o *Options){
		func(o *Options) { o.SegmentBytes = minSegment - 1 },
		func(o *Options) { o.MaxRecord = 0 },
		func(o *Options) { o.MaxRecord = int(o.SegmentBytes) },
		func(o *Options) { o.SegmentBytes, o.MaxRecord = 64<<20, maxPayload+1 },
	} {
		b := newBench(t, memory(t))
		change(&b.Options)
		if j, err := Open(b.Options); err == nil {
			t.Errorf("opened with segments of %d and records of %d bytes", b.SegmentBytes, b.MaxRecord)
			finish(t, j)
		}
	}
}
