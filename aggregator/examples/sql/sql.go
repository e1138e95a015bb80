// Package sql writes records of many goroutines to an SQL database by one
// connection, with a commit now and then. It is a module of its own, so that
// the aggregator needs no driver.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"edgeagg/aggregator"
)

// Log is a table that many goroutines append to.
type Log struct {
	aggregator.Aggregator

	db     *sql.DB
	tx     *sql.Tx // open between two commits; only the aggregator's loop has it
	failed error   // of the last commit
}

// Open begins to write into the table log, which it makes if there is none. What
// was written is committed each time commit has passed, by Sync, and by Close.
func Open(ctx context.Context, db *sql.DB, commit time.Duration) (*Log, error) {
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, line TEXT NOT NULL)"); err != nil {
		return nil, err
	}
	l := &Log{db: db}
	var err error
	l.Aggregator, err = aggregator.New(ctx, aggregator.Config{
		BufWriter:  500,
		FctBatch:   l.insert,
		BatchDelay: 5 * time.Millisecond,
		SyncTimer:  commit,
		SyncFct:    l.commit,
	})
	if err != nil {
		return nil, err
	}
	return l, l.Start(ctx)
}

// insert puts lines into the open transaction.
func (l *Log) insert(lines [][]byte) (n int, err error) {
	if l.tx == nil {
		if l.tx, err = l.db.Begin(); err != nil {
			return 0, err
		}
	}
	for _, line := range lines {
		if _, err := l.tx.Exec("INSERT INTO log (line) VALUES (?)", string(line)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// commit is called by the loop, never beside insert.
func (l *Log) commit(context.Context) {
	if l.tx == nil {
		return
	}
	if err := l.tx.Commit(); err != nil {
		l.failed = err
	}
	l.tx = nil
}

// Close commits what was written.
func (l *Log) Close() error {
	err := l.Aggregator.Close()
	return errors.Join(err, l.ErrorsLast(), l.failed)
}
