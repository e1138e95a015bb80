package journal

import (
	"os"
	"strconv"
	"strings"
	"testing"
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
