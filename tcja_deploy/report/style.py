"""The style of the pages: for wide and narrow screens, light and dark ones, and for paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a2230; --paper: #fff; --panel: #f4f6f9; --line: #dbe1e8; --soft: #556172;
        --faint: #8a95a3; --heat: 8 81 156; --alert: #b8401a; --good: #00704f; --other: 178 84 0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #12161c; --panel: #1b212a; --line: #303946;
        --soft: #a0acba; --faint: #6f7b8a; --heat: 120 180 255; --alert: #ff9a70; --good: #4fd1a5;
        --other: 255 176 82; } }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       overflow-wrap: anywhere; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
table { overflow-wrap: normal; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; } h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 48rem; } ul { margin: .4rem 0; padding-left: 1.2rem; }
.lead { font-weight: 500; }
figure { margin: 1rem 0 0; } figcaption { color: var(--soft); font-size: .875rem; margin-top: .5rem; max-width: 48rem; }
.verdict { padding: 1rem 1.25rem; border-radius: .5rem; background: var(--panel); border-left: .4rem solid; }
.verdict p { max-width: 60rem; }
.verdict p:first-child { font-size: 1.2rem; font-weight: 600; line-height: 1.35; margin-top: 0; }
.met { border-color: var(--good); } .unmet { border-color: var(--alert); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tiles > div { padding: .7rem .8rem; border: 1px solid var(--line); border-radius: .5rem; min-width: 0; }
.tiles dt, .tiles dd { margin: 0; color: var(--soft); font-size: .78rem; line-height: 1.35; }
.tiles dt { color: var(--ink); } .tiles .value { color: var(--ink); font-size: 1.35rem; font-weight: 600; }
.tiles .wrong { border: 2px solid var(--alert); } .tiles .wrong .value { color: var(--alert); }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 1.2rem 1.5rem; }
.small figure { margin: 0; min-width: 0; display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.small figcaption { color: var(--ink); font-weight: 500; margin: 0 0 .2rem; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10rem, 100%), 1fr)); gap: 1rem 1.2rem; }
.samples figure { margin: 0; min-width: 0; } .samples figcaption { margin: .2rem 0 0; line-height: 1.35; }
.samples b { color: var(--ink); } .samples span { display: block; }
img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); }
.samples img { width: 8rem; background: #fff; } .pair { display: flex; gap: .4rem; } .pair img { width: 4.5rem; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .4rem; font-size: .75rem; }
.frames img { width: 100%; background: #fff; }
pre { margin: 0; padding: .3rem .7rem; border-radius: .4rem; background: var(--panel); white-space: pre-wrap; }
.commands dd { max-width: 32rem; } .commands dt { padding-top: .3rem; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.5rem; font-size: .9rem; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; }
.soft { color: var(--soft); } .alert { color: var(--alert); font-weight: 700; }
.wide { overflow-x: auto; } .wide:focus-visible { outline: 2px solid rgb(var(--heat)); }
.hint { position: sticky; left: 0; width: max-content; margin: 0; font-size: .78rem; color: var(--soft);
        visibility: hidden; height: 0; overflow: hidden; animation: hint linear; animation-timeline: scroll(x); }
@keyframes hint { from, to { visibility: visible; height: 1.4rem; } }
@supports not (animation-timeline: scroll(x)) {
  @media (max-width: 40rem) { .hint { visibility: visible; height: 1.4rem; } } }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 500; } tr:last-child > * { border-bottom: 0; }
.folds th:first-child { min-width: 9rem; overflow-wrap: anywhere; } .folds td { min-width: 5rem; }
.folds td:not(.n) { overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .n { white-space: normal; } .n + :not(.n) { padding-left: 1.2rem; }
.heat { border-collapse: separate; border-spacing: 2px; width: auto; }
.heat th, .heat td { border: 0; padding: .25rem .4rem; vertical-align: middle; }
.heat th:first-child { position: sticky; left: 0; background: var(--paper); }
.name { display: block; width: max-content; max-width: 12rem; overflow-wrap: anywhere; }
.heat .step { text-align: center; min-width: 2.25rem; padding: .25rem .1rem; font-variant-numeric: tabular-nums; }
.heat td.step { border-radius: .2rem; background: rgb(var(--heat) / var(--much)); }
.heat .none { color: var(--faint); --much: .04; } .heat .deep { color: var(--paper); }
.heat .same { box-shadow: inset 0 0 0 2px var(--ink); }
.heat .wrong { background: none; box-shadow: inset 0 0 0 2px var(--alert); color: var(--alert); font-weight: 700; }
.bar { display: block; height: .8rem; min-width: 1px; border-radius: .15rem; background: rgb(var(--heat)); }
.bars td:nth-child(n + 4) { width: 32%; min-width: 4.5rem; vertical-align: middle; }
.shares td { width: 17%; } .shares .bar { height: .2rem; margin: .1rem 0 .2rem; }
svg { display: block; width: 100%; } svg text { font-size: 9.5px; fill: var(--soft); }
svg .heat-fill { fill: rgb(var(--heat)); } svg .rule { stroke: var(--line); }
svg .mark { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 3 2; }
.columns { height: 1.4rem; }
.network { max-width: 32rem; } .network text { font-size: 11px; fill: var(--ink); }
.network .title { font-weight: 600; }
.network rect { stroke: var(--faint); fill: var(--paper); } .network .spiking { stroke: rgb(var(--heat)); }
.network .fires { fill: rgb(var(--heat)); stroke: none; } .network .attention { stroke: rgb(var(--other)); }
.network .attention { stroke-width: 1.6; stroke-dasharray: 5 2; } .network .unjudged { stroke: var(--alert); }
.network .plain { stroke: var(--line); } .network .edge { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.network .tip { fill: var(--soft); }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }
.line { fill: none; stroke: rgb(var(--heat)); stroke-width: 1.4; } .line.other { stroke: rgb(var(--other)); }
.line.other { stroke-dasharray: 4 2; } .line.under { stroke-width: 5; stroke-opacity: .3; stroke-dasharray: none; }
.band { fill: rgb(var(--heat) / .14); } .band.other { fill: rgb(var(--other) / .14); }
.legend { list-style: none; padding: 0; font-size: .8rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .5rem; } .legend svg { width: 2rem; flex: none; }
.map { display: grid; grid-template-columns: auto 1fr; gap: .15rem .4rem; font-size: .75rem; color: var(--soft); }
.map svg { border: 1px solid var(--line); } .ends { display: flex; justify-content: space-between; }
.down { flex-direction: column; text-align: right; } .map > :nth-child(3) { grid-column: 2; }
.scale { display: flex; align-items: center; gap: .5rem; font-size: .8rem; color: var(--soft); margin: .3rem 0 .8rem; }
.scale i { width: 10rem; height: .8rem; border: 1px solid var(--line);
           background: linear-gradient(to right, rgb(var(--heat) / 0), rgb(var(--heat))); }
@media screen and (max-width: 40rem) {
  main { padding: 1rem .9rem 2rem; }
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; } .facts dd { margin-bottom: .5rem; }
  th, td { padding: .3rem .35rem; } .heat .step { min-width: 1.6rem; } .name { max-width: 7rem; }
  .folds, .folds tbody, .folds tr, .folds :is(th, td) { display: block; width: auto; }
  .folds thead { display: none; } .folds tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .folds tr :is(th, td) { border: 0; padding: .1rem 0; text-align: left; white-space: normal; }
  .folds td.none { display: none; }
  .folds [data-head]::before { font-weight: 400; content: attr(data-head) ": "; color: var(--soft); }
}
@media print {
  html { font-size: 11px; } main { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  .small figure, .samples figure, .map, .tiles, tr, h2, h3 { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .hint { display: none; }
  .wide { overflow: visible; } .heat { font-size: .7rem; } .heat .step { min-width: 0; }
  .heat th, .heat td { padding: .1rem; } .map { min-width: 0 !important; }
}
"""
