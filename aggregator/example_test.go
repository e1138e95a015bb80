package aggregator_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"edgeagg/aggregator"
)

func Example() {
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufWriter: 100,
		FctWriter: func(p []byte) (int, error) { return fmt.Printf("%s\n", p) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for i := range 3 {
		if _, err := fmt.Fprintf(a, "record %d", i); err != nil {
			fmt.Println(err)
		}
	}
	if err := a.Close(); err != nil { // hands over what waits
		fmt.Println(err)
	}
	// Output:
	// record 0
	// record 1
	// record 2
}

// A server on a socket writes the lines of all its clients to one log file,
// which is synced now and then.
func Example_socketServerToFile() {
	file, err := os.CreateTemp("", "server-*.log")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.Remove(file.Name()) }()
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufBytes:  256 << 10,
		MaxRecord: bufio.MaxScanTokenSize,
		FctWriter: file.Write,
		SyncTimer: 5 * time.Second,
		SyncFct:   func(context.Context) { _ = file.Sync() },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for range 3 { // a real one goes on for ever
			client, err := server.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = client.Close() }()
				for lines := bufio.NewScanner(client); lines.Scan(); {
					if _, err := a.Write(append(lines.Bytes(), '\n')); err != nil {
						return
					}
				}
			})
		}
	})

	var clients sync.WaitGroup
	for c := range 3 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", server.Addr().String())
			if err != nil {
				fmt.Println(err)
				return
			}
			defer func() { _ = conn.Close() }()
			for i := range 100 {
				_, _ = fmt.Fprintf(conn, "client %d line %d\n", c, i)
			}
		})
	}
	clients.Wait()
	serving.Wait() // until the last client's end is read
	_ = server.Close()
	if err := errors.Join(a.Close(), file.Close()); err != nil {
		fmt.Println(err)
	}
	text, _ := os.ReadFile(file.Name())
	fmt.Println(strings.Count(string(text), "\n"), "lines")
	// Output: 300 lines
}

// Several streams share one connection. A keep-alive goes through the same
// aggregator, so it never falls into the middle of a message, and none is sent
// while the link is stuck.
func Example_streamsOntoOneConnection() {
	near, far := net.Pipe()
	var a aggregator.Aggregator
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufWriter:  100,
		FctWriter:  near.Write,
		AsyncTimer: 10 * time.Millisecond,
		AsyncMax:   1,
		AsyncFct:   func(context.Context) { _, _ = a.TryWrite([]byte("PING\n")) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	alive := make(chan struct{})
	received := make(chan []string)
	go func() {
		var all []string
		pinged := sync.OnceFunc(func() { close(alive) })
		for lines := bufio.NewScanner(far); lines.Scan(); {
			if lines.Text() == "PING" {
				pinged()
				continue
			}
			all = append(all, lines.Text())
		}
		received <- all
	}()
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	var streams sync.WaitGroup
	for s := range 3 {
		streams.Go(func() {
			for i := range 2 {
				_, _ = fmt.Fprintf(a, "stream %d message %d\n", s, i)
			}
		})
	}
	streams.Wait()
	<-alive
	if err := errors.Join(a.Close(), near.Close()); err != nil {
		fmt.Println(err)
	}
	all := <-received
	slices.Sort(all)
	fmt.Println(strings.Join(all, "\n"))
	// Output:
	// stream 0 message 0
	// stream 0 message 1
	// stream 1 message 0
	// stream 1 message 1
	// stream 2 message 0
	// stream 2 message 1
}

// Samples of many goroutines go to a database by HTTP, many in a request. While
// the database refuses, they wait in a fixed buffer; when that is full, the
// sampler drops and counts.
func Example_metricsPipeline() {
	var mu sync.Mutex
	requests, samples := 0, 0
	database := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests == 1 {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		samples += strings.Count(string(body), "\n")
	}))
	defer database.Close()
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufBytes:   1 << 20,
		MaxRecord:  1 << 10,
		BatchBytes: 16 << 10,
		BatchDelay: 10 * time.Millisecond,
		Retry:      aggregator.Retry{Max: -1, MinDelay: time.Millisecond, MaxDelay: time.Second},
		FctBatch: func(recs [][]byte) (int, error) {
			body := make([]io.Reader, 0, len(recs))
			for _, p := range recs {
				body = append(body, strings.NewReader(string(p)))
			}
			answer, err := http.Post(database.URL, "text/plain", io.MultiReader(body...))
			if err != nil {
				return 0, err
			}
			defer func() { _ = answer.Body.Close() }()
			if answer.StatusCode != http.StatusOK {
				return 0, errors.New(answer.Status)
			}
			return len(recs), nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	var sources sync.WaitGroup
	for s := range 10 {
		sources.Go(func() {
			for i := range 100 {
				_, _ = a.TryWrite(fmt.Appendf(nil, "load{source=\"%d\"} %d\n", s, i))
			}
		})
	}
	sources.Wait()
	if err := a.Sync(context.Background()); err != nil {
		fmt.Println(err)
	}
	m := a.Metrics()
	fmt.Println(samples, "samples stored,", m.Full, "dropped,", m.Failed, "failed request")
	if err := a.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: 1000 samples stored, 0 dropped, 1 failed request
}

// Many goroutines fill a temporary file. It is processed when it is whole: after
// Close it is synced and gets its name in one step.
func Example_temporaryFile() {
	dir, err := os.MkdirTemp("", "accumulate")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	temp, err := os.Create(filepath.Join(dir, ".incoming"))
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufWriter:  200,
		BatchBytes: 4 << 10, // one write(2) for many records
		FctWriter:  temp.Write,
		SyncTimer:  time.Minute,
		SyncFct:    func(context.Context) { _ = temp.Sync() },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	var sources sync.WaitGroup
	for s := range 10 {
		sources.Go(func() {
			for i := range 50 {
				_, _ = fmt.Fprintf(a, "%d,%d\n", s, i)
			}
		})
	}
	sources.Wait()
	if err := errors.Join(a.Close(), a.ErrorsLast(), temp.Close()); err != nil {
		fmt.Println("kept as it is:", err)
		return
	}
	whole := filepath.Join(dir, "batch.csv")
	if err := os.Rename(temp.Name(), whole); err != nil {
		fmt.Println(err)
		return
	}
	text, _ := os.ReadFile(whole)
	fmt.Println(strings.Count(string(text), "\n"), "rows")
	// Output: 500 rows
}

// Shutdown bounds the time that draining may take, and says what was left.
func ExampleAggregator_shutdown() {
	a, err := aggregator.New(context.Background(), aggregator.Config{
		BufWriter: 10,
		FctWriter: func([]byte) (int, error) { return 0, errors.New("card is gone") },
		FctFailed: func(p []byte, _ error) { fmt.Printf("lost: %s\n", p) },
		Retry:     aggregator.Retry{Max: -1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for i := range 2 {
		_, _ = fmt.Fprintf(a, "record %d", i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	left, err := a.Shutdown(ctx)
	fmt.Println(left, errors.Is(err, context.DeadlineExceeded))
	// Output:
	// lost: record 0
	// lost: record 1
	// 2 true
}
