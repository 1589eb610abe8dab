"""How the page looks, on a screen by day and by night and on paper; its search and its filters."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --quiet: #566074; --line: #d5dae3; --page: #fff;
  --band: #f1f4f8; --good: #0b6b36; --good-bg: #e3f4e9; --some: #7a4b00; --some-bg: #fdf0d5;
  --bad: #a3161f; --bad-bg: #fbe6e7; --link: #1f4fa3; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --quiet: #a3adbf;
  --line: #3a4356; --page: #151a23; --band: #212938; --good: #7fdca4; --good-bg: #143524;
  --some: #f2c46d; --some-bg: #3b2c0f; --bad: #ff9ea3; --bad-bg: #44181c; --link: #9cc0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 100rem; margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 2.5rem) 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p { max-width: 48rem; }
a { color: var(--link); }
code { font: 0.88em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: nowrap;
  display: inline-block; max-width: 100%; background: var(--band); border-radius: 0.25em;
  padding: 0 0.3em; vertical-align: top; text-indent: 0; }
code:has(span) { white-space: normal; padding-left: 1.3em; text-indent: -1em; }
code span { white-space: nowrap; text-indent: 0; }
.hash { white-space: normal; text-indent: 0; }
small, em { color: var(--quiet); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.7rem 0.35rem 0.5rem;
  border-bottom: 1px solid var(--line); }
td, th, li, dd, p { overflow-wrap: break-word; }
thead th { background: var(--band); border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
.plain, .counts { width: auto; min-width: min(100%, 44rem); }
.counts td:nth-child(n + 3) { text-align: right; font-variant-numeric: tabular-nums; }
.grid { width: auto; }
.grid tbody th { position: sticky; left: 0; background: var(--page); }
.targets .group th { padding-top: 1.1rem; font-weight: 600; border-bottom: 2px solid var(--line); }
.targets tr:not(.group) th { padding-left: 1.5rem; }
.also { font-weight: 400; margin-left: 0.6rem; }
.behind { font-size: 0.9em; }
.rules tbody th { min-width: 8rem; }
.rules td:nth-child(2) { min-width: 9rem; max-width: 24rem; }
.expired td, .expired .id { color: var(--quiet); }
.expired .id { text-decoration: line-through; }
tr:target > * { background: var(--some-bg); }
.none { color: var(--quiet); }
.not { color: var(--bad); }
.badge, .flag { display: inline-block; padding: 0 0.5em; border-radius: 0.3em; font-size: 0.87em;
  font-weight: 600; white-space: nowrap; }
.flag { color: var(--some); border: 1px solid var(--some); }
.allowed { color: var(--good); background: var(--good-bg); }
.some-requests, .partly { color: var(--some); background: var(--some-bg); }
.denied { color: var(--bad); background: var(--bad-bg); }
.no-rule { color: var(--quiet); background: var(--band); }
.day { white-space: nowrap; }
.loud { border-left: 0.4rem solid var(--bad); padding: 0.6rem 1rem; background: var(--bad-bg); }
.facts { display: flex; flex-wrap: wrap; gap: 0.4rem 2.5rem; margin: 0 0 1rem; }
.facts dt { color: var(--quiet); font-size: 0.87em; }
dd { margin: 0; font-weight: 600; }
details { margin: 0.4rem 0; }
summary { cursor: pointer; font-weight: 600; }
ul { margin: 0.3rem 0 0.6rem; padding-left: 1.3rem; }
.dense { columns: 26rem; column-gap: 2rem; list-style: none; padding-left: 0; }
.dense li { padding: 0.1rem 0 0.1rem 1rem; text-indent: -1rem; break-inside: avoid; }
.dense .flag { text-indent: 0; }
.changes { list-style: none; padding-left: 0; }
.changes li { white-space: pre-wrap; padding-left: 2rem; text-indent: -2rem; overflow-wrap: break-word; }
.filters { display: none; position: sticky; top: 0; background: var(--page); padding: 0.5rem 0;
  z-index: 1; gap: 0.5rem 1.2rem; flex-wrap: wrap; align-items: baseline; }
.script .filters { display: flex; }
input, select { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--quiet);
  border-radius: 0.3em; padding: 0.25em 0.5em; max-width: 60vw; }
:focus-visible { outline: 3px solid var(--some); outline-offset: 2px; }
.signers tbody > tr > * { height: 3.2rem; vertical-align: bottom; }
.signers th:first-child { width: 14rem; }
.signers th:last-child { width: 40%; }
@media screen { .off { display: none; } }
@media screen and (max-width: 84rem) {
  .rules { font-size: 0.85em; }
  .rules th, .rules td { padding: 0.35rem 0.3rem; }
  .rules tbody th { min-width: 7rem; }
  .rules td:nth-child(2) { min-width: 8rem; }
}
@media screen and (max-width: 64rem) {
  .rules { font-size: 1em; }
  .rules thead { display: none; }
  .rules, .rules :is(tbody, tr, th, td) { display: block; min-width: 0 !important; max-width: 100%; }
  .rules tr { border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.4rem 0.6rem;
    margin: 0 0 0.6rem; }
  .rules .off { display: none; }
  .rules :is(th, td) { border: 0; padding: 0.1rem 0; }
  .rules td::before { content: attr(data-label) ": "; color: var(--quiet); font-size: 0.87em; }
}
@media screen and (max-width: 44rem) {
  .wide { overflow: visible; }
  thead { display: none; }
  table, tbody, tr, th, td { display: block; width: auto; min-width: 0 !important; max-width: 100%;
    position: static !important; }
  tr { border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.4rem 0.6rem; margin: 0 0 0.6rem; }
  .off, tbody.off { display: none; }
  th, td, .targets tr:not(.group) th { border: 0; padding: 0.1rem 0; }
  td::before { content: attr(data-label) ": "; color: var(--quiet); font-size: 0.87em; }
  .counts td:nth-child(n + 3) { text-align: left; }
  .targets .group { border: 0; padding: 0; margin: 1.2rem 0 0.4rem; }
  .also { display: block; margin: 0; }
  .filters { position: static; }
  .signers tbody > tr > * { height: 2.4rem; border-bottom: 1px solid var(--line); width: auto !important; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --quiet: #333; --line: #999; --page: #fff; --band: #eee;
    --good: #000; --good-bg: #fff; --some: #000; --some-bg: #fff; --bad: #000; --bad-bg: #fff;
    --link: #000; }
  @page { size: A4 landscape; margin: 9mm 10mm;
    @bottom-right { content: "page " counter(page) " of " counter(pages); font: 6pt sans-serif; } }
  body { font-size: 7pt; line-height: 1.2; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 14pt; } h2 { font-size: 11pt; margin-top: 1rem; } h3 { font-size: 9pt; margin-top: 0.7rem; }
  a { text-decoration: none; }
  code { background: none; border: 0.5px solid #bbb; line-height: 1.1; }
  .dense { columns: 3; }
  .filters { display: none !important; }
  .wide { overflow: visible; }
  .grid tbody th { position: static; }
  th, td { padding: 0.06rem 0.5rem 0.04rem 0.25rem; border-bottom-width: 0.5px; }
  details::details-content { content-visibility: visible; block-size: auto; }
  thead { display: table-header-group; break-inside: avoid; break-after: avoid; }
  thead + tbody tr:first-child { break-before: avoid; }
  tr, dt, dd, li, .sign { break-inside: avoid; }
  .targets tbody:not(.tall) { break-inside: avoid; }
  .targets .group { break-after: avoid; }
  .targets .group th { padding-top: 0.35rem; border-bottom-width: 1px; }
  .signers tbody > tr > * { height: 12mm; }
  .behind { display: inline-block; margin-left: 0.8em; }
  h2, h3 { break-after: avoid; }
  .badge, .flag { border: 0.5px solid #000; line-height: 1.1; }
  .denied { border-width: 1.5px; }
  .rules { table-layout: fixed; }
  .rules th { min-width: 0; width: 17%; }
  .rules td:nth-child(2) { min-width: 0; max-width: none; }
  .rules thead th:nth-child(2) { width: 19%; }
  .rules thead th:nth-child(4) { width: 13%; }
  .rules thead th:nth-child(n + 6) { width: 8%; }
  .rules thead th:nth-child(8) { width: 6%; }
}
"""

SCRIPT = """
document.documentElement.classList.add("script");
const search = document.getElementById("search"), verdict = document.getElementById("verdict");
const owner = document.getElementById("owner"), told = document.querySelector("output");
const rows = [...document.querySelectorAll("tr[data-owners]")];
const head = row => row.closest("tbody[id]")?.querySelector(".group code").textContent ?? "";
const texts = rows.map(row => (row.textContent + " " + head(row)).toLowerCase());
const kind = row => !!row.closest(".rules");
const count = wanted => rows.filter(row => kind(row) === wanted).length;
const has = (row, name, value) => !value || !(name in row.dataset) ||
  row.dataset[name].includes("\\n" + (value === "none" ? "" : value.slice(1)) + "\\n");
const filter = () => {
  const wanted = search.value.trim().toLowerCase();
  const shown = { true: 0, false: 0 };
  rows.forEach((row, at) => {
    const on = texts[at].includes(wanted) &&
      has(row, "verdicts", verdict.value) && has(row, "owners", owner.value);
    row.classList.toggle("off", !on);
    shown[kind(row)] += on;
  });
  document.querySelectorAll(".targets tbody").forEach(
    each => each.classList.toggle("off", !each.querySelector("tr[data-owners]:not(.off)")));
  told.textContent = wanted || verdict.value || owner.value ?
    shown.false + " of " + count(false) + " pairs, " + shown.true + " of " + count(true) + " rules" : "";
};
[search, verdict, owner].forEach(each => each.addEventListener("input", filter));
document.querySelector(".filters").addEventListener("submit", event => event.preventDefault());
"""
