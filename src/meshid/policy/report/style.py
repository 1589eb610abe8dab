"""How the page looks, on a screen by day and by night and on paper; and its search."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --quiet: #566074; --line: #d5dae3; --page: #fff;
  --band: #f4f6f9; --good: #0b6b36; --good-bg: #e3f4e9; --some: #7a4b00; --some-bg: #fdf0d5;
  --bad: #a3161f; --bad-bg: #fbe6e7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --quiet: #a3adbf; --line: #3a4356;
  --page: #151a23; --band: #1e2531; --good: #7fdca4; --good-bg: #143524; --some: #f2c46d;
  --some-bg: #3b2c0f; --bad: #ff9ea3; --bad-bg: #44181c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 2.5rem) 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 0.4rem; }
p { max-width: 48rem; }
code { font: 0.9em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: break-word; }
small, em { color: var(--quiet); }
.hash { font-size: 0.75em; display: inline-block; min-width: 33em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: 0.8rem 0 0.3rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.7rem 0.4rem 0.5rem;
  border-bottom: 1px solid var(--line); }
thead th { background: var(--band); border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
@media (min-width: 40rem) {
  section table { table-layout: fixed; }
  section th:first-child { width: 45%; }
}
.grid { width: auto; }
.grid tbody th { position: sticky; left: 0; background: var(--page); max-width: 22rem; }
.none { color: var(--quiet); }
.badge { display: inline-block; padding: 0 0.5em; border-radius: 0.3em; font-size: 0.87em; font-weight: 600;
  white-space: nowrap; }
.allowed { color: var(--good); background: var(--good-bg); }
.some-requests, .partly { color: var(--some); background: var(--some-bg); }
.denied { color: var(--bad); background: var(--bad-bg); }
.loud { border-left: 0.4rem solid var(--bad); padding: 0.6rem 1rem; background: var(--bad-bg); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1rem; }
dd { margin: 0; }
details { margin: 0.4rem 0; }
summary { cursor: pointer; font-weight: 600; }
ul { margin: 0.3rem 0 0.6rem; padding-left: 1.3rem; }
.search { display: none; position: sticky; top: 0; background: var(--page); padding: 0.5rem 0; z-index: 1; }
.script .search { display: block; }
input { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--quiet);
  border-radius: 0.3em; padding: 0.3em 0.6em; width: min(24rem, 60vw); }
:focus-visible { outline: 3px solid var(--some); outline-offset: 2px; }
@media (max-width: 40rem) {
  code, small { overflow-wrap: anywhere; }
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: 0.5rem; }
  .rules thead { display: none; }
  .rules tr { display: block; border-bottom: 2px solid var(--line); padding: 0.5rem 0; }
  .rules th, .rules td { display: block; border: 0; padding: 0.1rem 0; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --quiet: #333; --line: #999; --page: #fff; --band: #eee;
    --good: #000; --good-bg: #fff; --some: #000; --some-bg: #fff; --bad: #000; --bad-bg: #fff; }
  .hash { min-width: 0; }
  @page { size: A4 landscape; margin: 14mm; }
  body { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  .search { display: none !important; }
  .wide { overflow: visible; }
  thead { display: table-header-group; }
  tr, dt, dd, li { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .badge { border: 1px solid #000; }
  .denied { border-width: 2px; }
}
"""

SCRIPT = """
document.documentElement.classList.add("script");
const box = document.getElementById("search"), told = document.querySelector("output");
const rows = [...document.querySelectorAll("section tbody tr, .grid tbody tr, .rules tbody tr")];
const texts = rows.map(row => (row.textContent + " " +
  (row.closest("section")?.querySelector("h3").textContent ?? "")).toLowerCase());
box.addEventListener("input", () => {
  const wanted = box.value.trim().toLowerCase();
  let shown = 0;
  rows.forEach((row, at) => { row.hidden = !texts[at].includes(wanted); shown += !row.hidden; });
  document.querySelectorAll("section").forEach(
    each => { each.hidden = wanted && !each.querySelector("tbody tr:not([hidden])"); });
  told.textContent = wanted ? shown + " rows" : "";
});
"""
