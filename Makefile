# make demo    the whole story on real images, with quickstart/report.html
# make test    the tests, in two processes (WORKERS=4: four, WORKERS=0: one), and beside them those of signatures
# make test-web    the runtime in JavaScript: the cases of conformance in Node, and the site in Chromium
# make check   lint, types, direction rules
# make docs    the documentation as a site in build/site, warnings as errors
# make bare    the wheel alone in a new environment, without torch
# make test-matrix    the tests on one thread and on two, with AVX2 alone and with all that the processor has (TESTS=FILE: some)
# make jvm     the runtime in Java (sdk/jvm) as build/jvm/compat-sdk.jar
# make test-jvm    its tests: the cases of sdk/conformance, random ones, damaged files
# make test-swift    the runtime in Swift (sdk/swift): the same cases, random ones, damaged files; with a toolchain of Swift
# Each sets up what it needs in .venv on its first run; no compiler is needed.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2
# A file's tests stay together: they share what its fixtures train and convert. The order is that of tests/conftest.py.
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The signing library cannot share an environment with the LiteRT converter, so that what it does is tried in another.
SIGNING = $(VENV)-signing
# What a device does, tried with the wheel alone; `make test` has all of tests/sdk.
BARE = tests/sdk/engines tests/sdk/upgrade $(patsubst %,tests/sdk/test_%.py,import bundle bundle_zip model_card embedder engine \
	files gallery index dataset preprocess profile space transform workers)
SIGNED = tests/sdk/test_bundle_signature.py tests/sdk/test_trust.py tests/sdk/test_built_here.py \
	tests/sdk/test_refusals.py tests/sdk/test_syncs.py tests/cli/test_signature_cli.py tests/cli/test_trust_cli.py \
	tests/fuzz/test_signed.py \
	tests/pipeline/test_documents.py::test_the_page_of_trust_does_what_it_says_in_its_order

.PHONY: demo test test-signing test-web chromium test-matrix check docs bare jvm test-jvm test-swift clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

# No module is compiled before it is imported: of what the converters bring, most never is.
PIP = -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
export PYTHONDONTWRITEBYTECODE :=

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 on the PATH; install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) -e ".[dev]"
	@touch $@

# The tree itself, by its path: an editable installation would bring the wheel's metadata for nothing.
$(SIGNING)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 on the PATH; install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(SIGNING)
	$(SIGNING)/bin/python $(PIP) \
		numpy pillow pytest typer usearch model-signing pyopenssl fastapi uvicorn
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/compat-sdk quickstart --out quickstart

test: $(VENV)/.installed $(SIGNING)/.installed
	@mkdir -p build
	@$(MAKE) --no-print-directory test-signing > build/signing.log 2>&1 & signing=$$!; \
	$(BIN)/python $(PYTEST); tests=$$?; \
	wait $$signing; signing=$$?; cat build/signing.log; exit $$((tests || signing))

test-signing: $(SIGNING)/.installed
	PYTHONPATH=sdk:server_training:export:cli $(SIGNING)/bin/python -m pytest -q -p no:cacheprovider $(SIGNED)

# Node and Chromium of the system; as root on Debian they are installed where they are absent. CHROMIUM=/path: another one.
WEB = sdk/web
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
$(WEB)/node_modules/.installed: $(WEB)/package-lock.json
	@command -v npm > /dev/null && test "$$(node -p 'parseInt(process.versions.node)')" -ge 20 || \
		{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y nodejs npm; } || \
		{ echo "error: no Node 20 and npm on the PATH; install them (Debian: apt-get install nodejs npm)"; exit 1; }
	cd $(WEB) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

chromium:
	@test -n "$(CHROMIUM)" || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium; } || \
		{ echo "error: no Chromium on the PATH; install it (Debian: apt-get install chromium), or: make test-web CHROMIUM=/path"; exit 1; }

test-web: $(VENV)/.installed $(WEB)/node_modules/.installed chromium
	rm -rf build/app-site && mkdir -p build
	$(BIN)/python -m tests.conformance.site build/app-site $(WEB)/node_modules
	cd $(WEB) && COMPAT_SITE=$(CURDIR)/build/app-site CHROMIUM=$(or $(CHROMIUM),/usr/bin/chromium) node --test test/*.test.js

# OMP_WAIT_POLICY: processes that wait for their threads leave the cores to the others.
test-matrix: $(VENV)/.installed
	@for threads in 1 2; do for capability in avx2 ""; do \
		echo "== threads: $$threads, ATEN_CPU_CAPABILITY: $${capability:-not set}"; \
		env -u ATEN_CPU_CAPABILITY $${capability:+ATEN_CPU_CAPABILITY=$$capability} OMP_NUM_THREADS=$$threads \
			OMP_WAIT_POLICY=PASSIVE $(BIN)/python $(PYTEST) -q $(TESTS) || exit 1; \
	done; done

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What builds the site reads the packages and imports none of them, so that its environment is small and apart.
DOCS = $(VENV)-docs
$(DOCS)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 on the PATH; install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(PIP) mkdocs-material mkdocstrings-python ruff
	@touch $@

# ruff, which wraps long signatures, is found on the path.
docs: $(DOCS)/.installed
	PATH="$(abspath $(DOCS))/bin:$$PATH" NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet

# It needs nothing of $(VENV), so that .ci/run installs both at once.
bare:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 on the PATH; install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	rm -rf build/bare && mkdir -p build/bare
	$(PYTHON) -m venv build/bare/venv
	build/bare/venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/bare .
	build/bare/venv/bin/python $(PIP) build/bare/*.whl pytest pytest-xdist
	build/bare/venv/bin/python -c "from importlib.util import find_spec as f; assert not any(map(f, ('torch', 'typer', 'onnx', 'onnxruntime', 'usearch')))"
	build/bare/venv/bin/python $(PYTEST) -q -p no:cacheprovider $(BARE)

# A JDK and JUnit 5 as Debian has them; no Maven, no Gradle.
JUNIT = $(patsubst %,/usr/share/java/%.jar,junit-jupiter-api junit-jupiter-params junit-jupiter-engine junit-platform-commons \
	junit-platform-engine junit-platform-launcher junit-platform-reporting junit-platform-console opentest4j \
	apiguardian-api univocity-parsers picocli)
# Of the Android example what needs no Android.
EXAMPLE = examples/android/app/src
JVM_PACKAGES = default-jdk-headless junit5
empty :=
JUNIT_PATH = $(subst $(empty) $(empty),:,$(JUNIT))

build/jvm/.tools:
	@mkdir -p build/jvm
	@if ! { command -v javac && ls $(JUNIT); } > /dev/null 2>&1; then \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; } \
			|| { echo "error: javac or JUnit 5 is missing; install them, on Debian: apt-get install $(JVM_PACKAGES)"; exit 1; }; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends $(JVM_PACKAGES) > /dev/null; \
	fi
	@touch $@

# Java 8, since Android 8 has of Java's library what Java 8 has: javac itself refuses what came later.
JAVAC = javac --release 8 -encoding UTF-8 -Werror -Xlint:all,-options,-serial,-path

build/jvm/compat-sdk.jar: build/jvm/.tools $(wildcard sdk/jvm/src/main/java/compatsdk/*.java)
	rm -rf build/jvm/main && mkdir -p build/jvm/main
	@$(JAVAC) -d build/jvm/main $(filter %.java,$^)
	jar --create --file $@ -C build/jvm/main .

jvm: build/jvm/compat-sdk.jar

test-jvm: $(VENV)/.installed build/jvm/compat-sdk.jar
	rm -rf build/jvm/test build/jvm/random build/jvm/tmp && mkdir -p build/jvm/test build/jvm/tmp
	$(BIN)/python -m tests.conformance.at_random build/jvm/random
	@$(JAVAC) -proc:none -classpath build/jvm/compat-sdk.jar:$(JUNIT_PATH) -d build/jvm/test sdk/jvm/src/test/java/compatsdk/*.java \
		$(EXAMPLE)/main/java/compatsdk/example/Upright.java $(EXAMPLE)/test/java/compatsdk/example/*.java
	@java -XX:TieredStopAtLevel=1 -Djava.io.tmpdir=build/jvm/tmp -Dcases=sdk/conformance:build/jvm/random \
		-classpath build/jvm/compat-sdk.jar:build/jvm/test:$(JUNIT_PATH) org.junit.platform.console.ConsoleLauncher \
		--scan-classpath build/jvm/test --details=summary --disable-banner 2> build/jvm/warnings.log \
		|| { cat build/jvm/warnings.log; exit 1; }

# A toolchain is 2 GB, so that none is installed here. On Linux SHA-256 is OpenSSL's.
SWIFT ?= swift
test-swift: $(VENV)/.installed
	@command -v $(SWIFT) > /dev/null || { echo "error: no Swift 5.9 or later on the PATH; install one (swift.org; Debian 13: apt-get install \
	swiftlang libc6-dev libstdc++-14-dev libssl-dev), or: make test-swift SWIFT=/path/to/swift"; exit 1; }
	rm -rf build/swift/random && mkdir -p build/swift
	$(BIN)/python -m tests.conformance.at_random build/swift/random
	CASES=$(CURDIR)/build/swift/random $(SWIFT) test --package-path sdk/swift --scratch-path $(CURDIR)/build/swift/build

clean:
	rm -rf $(VENV) $(SIGNING) $(DOCS) $(WEB)/node_modules build dist quickstart
