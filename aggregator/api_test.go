package aggregator_test

import (
	"context"
	"io"
	"reflect"
	"testing"
	"time"

	"edgeagg/aggregator"
)

// seed is the interface of github.com/nabbar/golib/ioutils/aggregator as its
// README gives it.
type seed interface {
	context.Context
	Start(ctx context.Context) error
	Stop() error
	Restart(ctx context.Context) error
	IsRunning() bool
	Uptime() time.Duration
	ErrorsLast() error
	ErrorsList() []error
	io.Closer
	io.Writer
	NbWaiting() int64
	NbProcessing() int64
	SizeWaiting() int64
	SizeProcessing() int64
}

// seedConfig has its fields.
type seedConfig struct {
	FctWriter  func(p []byte) (n int, err error)
	BufWriter  int
	AsyncTimer time.Duration
	AsyncMax   int
	AsyncFct   func(ctx context.Context)
	SyncTimer  time.Duration
	SyncFct    func(ctx context.Context)
}

var (
	_ func(context.Context, aggregator.Config) (aggregator.Aggregator, error) = aggregator.New

	_ seed = aggregator.Aggregator(nil)
	_ interface {
		SetLoggerError(func(msg string, err ...error))
		SetLoggerInfo(func(msg string, arg ...any))
	} = aggregator.Aggregator(nil)

	_ = []error{
		aggregator.ErrInvalidWriter, aggregator.ErrInvalidInstance,
		aggregator.ErrStillRunning, aggregator.ErrClosedResources,
	}
)

func TestConfigHasTheSeedsFields(t *testing.T) {
	ours := reflect.TypeFor[aggregator.Config]()
	for field := range reflect.TypeFor[seedConfig]().Fields() {
		if f, ok := ours.FieldByName(field.Name); !ok || f.Type != field.Type {
			t.Errorf("Config.%s: have %v, want %v", field.Name, f.Type, field.Type)
		}
	}
}

func TestErrorsHaveTheSeedsWords(t *testing.T) {
	for err, want := range map[error]string{
		aggregator.ErrInvalidWriter:   "invalid writer",
		aggregator.ErrInvalidInstance: "invalid instance",
		aggregator.ErrStillRunning:    "still running",
		aggregator.ErrClosedResources: "closed resources",
	} {
		if err.Error() != want {
			t.Errorf("have %q, want %q", err, want)
		}
	}
}
