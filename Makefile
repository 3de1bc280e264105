# Thin on purpose: what a target does stands in Scripts/, where it can be read, checked and run without make.
.PHONY: run test format lint bench

## Starts a server that keeps its data in ./data. More settings: make run ARGS="--http 0.0.0.0:8080".
run:
	@Scripts/run.sh $(ARGS)

## Lint, build, every test.
test:
	@Scripts/test.sh

format:
	@Scripts/format.sh

lint:
	@Scripts/lint.sh

## A load against a server of its own: make bench ARGS="pairs --rate 2000".
bench:
	@Scripts/bench.sh $(ARGS)
