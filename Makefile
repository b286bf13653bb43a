# The front door. Each target installs what it lacks and says in one line what it does; builds and caches live
# outside the checkout.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/juicefs-target
export JUICEFS_E2E_CACHE ?= $(HOME)/.cache/juicefs-e2e
BINARY := $(CARGO_TARGET_DIR)/e2e/juicefs
CLUSTER := e2e/cluster

.PHONY: help demo demo-kubernetes check test test-rest soak bench generate tools binary image cluster-up cluster-down

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools binary ## format SQLite + a folder, mount, write, read, unmount
	@e2e/demo.sh $(BINARY)

demo-kubernetes: binary ## a real one-node Kubernetes on this machine, our chart, a claim and two pods that share it
	@e2e/demo-kubernetes.sh $(BINARY)

check: ## what every commit must pass
	@e2e/test.sh check

test: ## everything that CI runs
	@e2e/test.sh all

test-rest: ## what is written and not part of CI yet
	@e2e/test.sh rest

soak: ## ROW=model|fsx|storm [MINUTES=30] [SEED=n]: one long run; the result goes into docs/measured.md
	@e2e/soak.sh $(ROW)

bench: tools binary ## us and the peer in turns (Redis)
	@python3 e2e/suites/perf.py $(BINARY) $(JUICEFS_E2E_CACHE)/venv/bin/juicefs

generate: ## Rust of the protocols, CRDs, rendered manifests
	@cargo xtask generate
	@cargo run --quiet -p juicefs-k8s --example crdgen
	@deploy/render.sh

tools: ## servers and the peer, which the tests need
	@e2e/tools/install.sh

binary: ## the release-like binary that end-to-end tests run
	@cargo build --profile e2e --bin juicefs

image: ## write the image of the Dockerfile, tagged juicefs:dev, to target/juicefs-image.tar
	cargo xtask image

cluster-up: ## start a real one-node Kubernetes on this machine (cold: builds its parts, about 9 minutes)
	$(CLUSTER)/up.sh

cluster-down: ## end it, with all its processes and mounts
	$(CLUSTER)/down.sh
