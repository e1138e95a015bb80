// Package aggregator lets many goroutines write records to one function that
// is called by one goroutine at a time: sensors to a file, sockets to a log,
// clients to a database connection. It needs the standard library only.
//
// # What blocks, and what is lost
//
// Write waits while the buffer is full, TryWrite does not. A Write that
// returned nil is a promise: the record reaches FctWriter exactly once, in the
// order of its goroutine, unless Retry gives it up (then FctFailed is told).
// Stop, Close and the end of a context drain the buffer first. Only the end of
// the process loses what is in the buffer: keep it as small as the writer's
// longest pause allows.
//
// # Callbacks
//
// FctWriter, FctBatch, FctFailed and SyncFct run in the loop, AsyncFct in
// goroutines of its own. All may call all methods. Stop, Close and Shutdown
// called by a callback begin the end and return at once, since they cannot
// wait for their caller; the loop ends when the callback has returned. SyncFct
// that writes into a full buffer gets ErrFull.
//
// # Sizing
//
// The buffer has to take what comes while the writer pauses:
//
//	BufBytes = rate × pause × (record + 4) × 2
//
// A board with 10 sources of 10 records/s, 60 bytes each, on a card that
// sometimes stalls for 3 s needs 10 × 10 × 3 × 64 × 2 = 38 400 bytes. BufBytes
// allocates them once. Without it, memory is len + 4 bytes for each record
// that waits, rounded up to a power of two, and BufMaxSize bounds it.
package aggregator
