# Sourced by the other scripts: where we are, and how to speak to a person.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "apus: $*" >&2; }
die() { say "$*"; exit 1; }

# What `swift format` looks at.
sources=(Package.swift Sources Tests)
[ -d Benchmarks ] && sources+=(Benchmarks/Package.swift Benchmarks/Sources)
true
