# Thin on purpose: what a target does stands in Scripts/, where it can be read, checked and run without make.
.PHONY: run cluster test format lint bench kill-test chaos

## Starts a server that keeps its data in ./data. More settings: make run ARGS="--http 0.0.0.0:8080".
run:
	@Scripts/run.sh $(ARGS)

## A small cluster on this machine (MariaDB, Redis, ZooKeeper, SeaweedFS, two processes of each role), with its data in ./data/cluster.
cluster:
	@Scripts/cluster.sh cluster $(ARGS)

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

## Kills a server again and again under load and checks what clients saw: make kill-test KILLS=20 MESSAGES=20000.
KILLS ?= 20
MESSAGES ?= 20000
kill-test:
	@Scripts/kill-test.sh --kills $(KILLS) --messages $(MESSAGES)

## Does all that to a cluster: make chaos ARGS="--faults 100 --messages 100000".
chaos:
	@Scripts/cluster.sh chaos $(ARGS)
