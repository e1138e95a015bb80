# make help lists what there is.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# The commit's time, not the build's: the same commit gives the same bytes.
BUILT   := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.built=$(BUILT)
GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
TARGETS := armv6 armv7 arm64 amd64
# The armv6 binary may have this many bytes.
MAX_ARMV6 := 9000000
# The modules beside the main one.
MODULES := test aggregator/bench aggregator/examples/sql

export CGO_ENABLED ?= 0

.PHONY: help build demo test unit system deps vet lint dist size armv6 bench bench-aggregator example-sql clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS="$$(printf '\t')" read -r t d; do printf '  %-17s %s\n' "$$t" "$$d"; done

build: ## build bin/edgeagg for this machine
	go build $(GOFLAGS_BUILD) -o bin/edgeagg ./cmd/edgeagg

demo: build ## run the main job with nothing installed, for 20 s
	./bin/edgeagg demo --for 20s

test: deps ## install what tests need, then run them all with the race detector
	$(MAKE) unit system armv6

unit: ## unit tests; those that count allocations without the race detector, which allocates
	CGO_ENABLED=1 go test -race ./...
	go test -run Alloc ./...

system: build ## the built binary against a real broker and real ttys
	cd test && EDGEAGG=$(CURDIR)/bin/edgeagg CGO_ENABLED=1 go test -race -count=1 ./...

deps: ## install what tests need and is missing, with apt
	@scripts/deps

vet: ## go vet in every module
	go vet ./...
	@for m in $(MODULES); do (cd $$m && go vet ./...) || exit 1; done

lint: ## golangci-lint in every module
	go tool -modfile=tools/go.mod golangci-lint run ./...
	@for m in $(MODULES); do (cd $$m && go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

dist: $(TARGETS:%=dist/edgeagg-%) size ## static binaries for every board in dist/

dist/edgeagg-armv6: export GOARCH = arm
dist/edgeagg-armv6: export GOARM = 6
dist/edgeagg-armv7: export GOARCH = arm
dist/edgeagg-armv7: export GOARM = 7
dist/edgeagg-arm64: export GOARCH = arm64
dist/edgeagg-amd64: export GOARCH = amd64
$(TARGETS:%=dist/edgeagg-%): FORCE
	CGO_ENABLED=0 GOOS=linux go build $(GOFLAGS_BUILD) -o $@ ./cmd/edgeagg

.PHONY: FORCE
FORCE:

size: ## print the sizes in dist/, and fail if the armv6 one is too big
	@for t in $(TARGETS); do printf '%-8s %9d bytes\n' $$t $$(stat -c %s dist/edgeagg-$$t); done
	@n=$$(stat -c %s dist/edgeagg-armv6); [ $$n -le $(MAX_ARMV6) ] || { echo "armv6: $$n bytes, at most $(MAX_ARMV6) allowed"; exit 1; }

armv6: dist/edgeagg-armv6 ## prove that the armv6 binary runs on an ARM1176 (Pi Zero)
	scripts/armv6

bench: build deps ## print what a reading costs
	scripts/bench

bench-aggregator: ## print the aggregator beside golib's, a mutex and a channel
	cd aggregator/bench && go run .

example-sql: ## test the aggregator in front of an SQL database
	cd aggregator/examples/sql && go test ./...

clean: ## remove what was built
	rm -rf bin dist
