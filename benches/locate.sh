#!/usr/bin/env bash
# Measures ingest and locate over a made crawl of known truth, and checks what they found. Prints a page of results.
#
#   benches/locate.sh SCRATCH [LINES [SHARDS [DOCUMENTS]]] > benches/results/DATE/locate.md
#
# SCRATCH gets the crawl (2.5 GB at the default 20 million lines; kept, and used again) and the run's output (removed).
# Needs GNU time (Debian: time) and awk. CARGO names the command to build with, TARGET where it puts what it built.
set -euo pipefail
scratch="$(mkdir -p "$1" && cd "$1" && pwd)"
lines="${2:-20000000}" shards="${3:-30}" documents="${4:-3000000}" seed=2019
cd "$(dirname "$0")/.."
read -ra cargo <<<"${CARGO:-cargo}"
target="${TARGET:-${CARGO_TARGET_DIR:-target}}/release"

"${cargo[@]}" build --release --locked -p weft -p weft-bigcrawl >&2
crawl="$scratch/crawl-$lines-$shards-$documents-$seed"
if [ ! -e "$crawl/recipe.toml" ]; then
  rm -rf "$crawl"
  /usr/bin/time -v -o "$crawl.time" "$target/bigcrawl" make --out "$crawl" --lines "$lines" --shards "$shards" \
    --documents "$documents" --seed "$seed" >"$crawl.made"
fi
index="$(dirname "$crawl"/crawl/cc-index/collections/*/indexes/cluster.idx)"
output="$scratch/out"
rm -rf "$output"

# Two measures of the yardstick, before and behind: a busy machine shows in their difference.
"$target/bigcrawl" inflate --index "$index" >"$scratch/inflate.before"
for stage in ingest locate; do
  /usr/bin/time -v -o "$scratch/$stage.time" "$target/weft" run "$crawl/recipe.toml" --output "$output" --workers 1 \
    --quiet --set "until=$stage" >"$scratch/$stage.said"
done
"$target/bigcrawl" inflate --index "$index" >"$scratch/inflate.behind"
"$target/bigcrawl" walk --run "$output" --index "$index" >"$scratch/walk.said"
checked=0
"$target/bigcrawl" check --run "$output" --truth "$crawl/truth.tsv" >"$scratch/check.said" || checked=$?
tables_bytes="$(du -sb "$output" | cut -f1)"
rm -rf "$output"

processor() { awk -F': ' '/User time|System time/ { sum += $2 } END { printf "%.2f", sum }' "$1"; }
peak_mb() { awk -F': ' '/Maximum resident/ { printf "%.0f", $2 * 1024 / 1e6 }' "$1"; }
clock() { awk -F'): ' '/Elapsed/ { n = split($2, part, ":"); s = 0; for (i = 1; i <= n; i++) s = s * 60 + part[i]; printf "%.2f", s }' "$1"; }
row() {
  local stage="$1" unit="$2" count="$3" time="$scratch/$1.time"
  awk -v stage="$stage" -v unit="$unit" -v count="$count" -v cpu="$(processor "$time")" -v wall="$(clock "$time")" \
    -v peak="$(peak_mb "$time")" 'BEGIN {
      printf "| %s | %d %s | %.1f s | %.1f s | %.0f | %d MB |\n", stage, count, unit, cpu, wall, count / cpu, peak }'
}
word() { awk -v name="$1" '$1 == name { print $2 }' "$2"; }

bare="$(awk '$1 == "lines_per_second" { if ($2 > best) best = $2 } END { print best }' "$scratch"/inflate.{before,behind})"
echo "# Locate over a made crawl, $(date +%F)"
echo
echo "\`benches/locate.sh SCRATCH $lines $shards $documents\`, release build, one worker; $(git describe --always --dirty)."
echo "Machine: $(nproc) processors, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), load $(cut -d' ' -f1 /proc/loadavg) at the end."
echo "Rates are by processor time (user and system, whole process), so that other programs count little."
echo
echo "| stage | rows | processor time | by the clock | rows/s of a core | peak memory |"
echo "|---|---|---|---|---|---|"
row ingest documents "$documents"
row locate documents "$documents"
echo
awk -v lines="$lines" -v whole="$(processor "$scratch/locate.time")" -v walk="$(word processor_time "$scratch/walk.said")" \
  -v bare="$bare" -v documents="$documents" 'BEGIN {
  printf "| index lines a second of a core | million | share of bare inflation |\n|---|---|---|\n"
  printf "| bare libdeflate inflation of all blocks | %.2f | 1 |\n", bare / 1e6
  printf "| the merge: blocks read, inflated and checked, the keys of %d documents looked up | %.2f | **%.2f** |\n", documents, lines / walk / 1e6, lines / walk / bare
  printf "| all of locate: documents read, merged, captures and rejects sorted and written | %.2f | %.2f |\n", lines / whole / 1e6, lines / whole / bare }'
echo
echo "Tables of the run: $tables_bytes bytes. Index: $(word stored_bytes "$scratch/inflate.behind") bytes stored, $(word inflated_bytes "$scratch/inflate.behind") inflated, $(word blocks "$scratch/inflate.behind") blocks."
if [ -e "$crawl.time" ]; then
  echo "Making the crawl: $(processor "$crawl.time") s of processor time, peak $(peak_mb "$crawl.time") MB."
fi
for file in before behind; do
  echo
  echo "Bare inflation $file the run:"
  echo
  sed 's/^/    /' "$scratch/inflate.$file"
done
echo
echo "The merge alone (\`bigcrawl walk\`):"
echo
sed 's/^/    /' "$scratch/walk.said"
echo
echo "What was planted, and whether it was found:"
echo
sed 's/^/    /' "$scratch/check.said"
echo
echo "What the run said:"
echo
sed 's/^/    /' "$scratch/locate.said"
exit "$checked"
