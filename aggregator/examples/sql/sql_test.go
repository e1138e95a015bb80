package sql

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver, in pure Go
)

// Ten goroutines write; another connection sees what was committed, and nothing
// before; after Close each line is there once.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	open := func() *sql.DB {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	reader := open()
	count := func() (n, distinct int) {
		if err := reader.QueryRow("SELECT COUNT(*), COUNT(DISTINCT line) FROM log").Scan(&n, &distinct); err != nil {
			t.Fatal(err)
		}
		return n, distinct
	}
	log, err := Open(context.Background(), open(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		var writers sync.WaitGroup
		for w := range 10 {
			writers.Go(func() {
				for i := from; i < to; i++ {
					if _, err := fmt.Fprintf(log, "writer %d line %d", w, i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
	}
	write(0, 50)
	if n, _ := count(); n != 0 {
		t.Errorf("%d lines before a commit", n)
	}
	if err := log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n, distinct := count(); n != 500 || distinct != 500 {
		t.Errorf("%d lines, %d of them distinct, after a commit", n, distinct)
	}
	write(50, 100)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if n, distinct := count(); n != 1000 || distinct != 1000 {
		t.Errorf("%d lines, %d of them distinct, after Close", n, distinct)
	}
}

func TestLogOfAClosedDatabase(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := Open(context.Background(), db, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(log, "line"); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err == nil {
		t.Error("Close says nothing of a line that is lost")
	}
	if _, err := Open(context.Background(), db, time.Hour); err == nil {
		t.Error("Open says nothing of a database that is closed")
	}
}
