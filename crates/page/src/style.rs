//! The style of the page: light, dark and paper, without a file from outside.

/// Everything between `<style>` and its end.
pub(crate) const STYLE: &str = r#"
:root{--on:#fff;--bg:#fff;--card:#f6f7f9;--ink:#16202c;--soft:#5a6675;--line:#d9dee5;--grid:#e8ebf0;
--good:#0b7a4b;--bad:#c2182b;--accent:#2457c5;--user:#7a3fb5;
--c0:#1f77b4;--c1:#e69f00;--c2:#009e73;--c3:#cc79a7;--c4:#56b4e9;--c5:#8c564b}
@media (prefers-color-scheme:dark){:root{--on:#0c1117;--bg:#11161d;--card:#1a212b;--ink:#e7ecf2;--soft:#9aa7b6;
--line:#303a47;--grid:#262f3a;--good:#4cc38a;--bad:#ff6b72;--accent:#6d9bff;--user:#bd8cf0;
--c0:#5aa9e6;--c1:#f2b93b;--c2:#3ccf9d;--c3:#e39bc6;--c4:#8fd0f5;--c5:#c49a8d}}
@media print{:root{--on:#fff;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#e4e4e4;
--good:#0b7a4b;--bad:#b00020;--accent:#1c449c;--user:#5e2b90}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0;letter-spacing:-.01em}
h2{font-size:18px;margin:44px 0 6px;letter-spacing:-.005em}
h3{font-size:14px;margin:18px 0 0;font-weight:600}
p{margin:6px 0 12px}.soft{color:var(--soft)}
header{display:flex;gap:16px;align-items:center;flex-wrap:wrap}
.verdict{font-weight:700;font-size:15px;padding:4px 14px;border-radius:999px;color:var(--on);background:var(--good)}
.verdict.bad{background:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:12px;margin:22px 0 8px}
.tile{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--good);
border-radius:8px;padding:12px 14px}
.tile.bad{border-left-color:var(--bad)}.tile.plain{border-left-color:var(--line)}
.tile b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.violation{border:1px solid var(--bad);border-left-width:4px;border-radius:8px;padding:10px 14px;margin:10px 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{text-align:left;color:var(--soft);font-weight:600;font-size:13px;border-bottom:1px solid var(--line);
padding:6px 10px 6px 0;white-space:nowrap}
td{border-bottom:1px solid var(--grid);padding:6px 10px 6px 0;vertical-align:top;overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap;padding-right:22px}.name{white-space:nowrap}
.ok{color:var(--good);font-weight:600;white-space:nowrap}.no{color:var(--bad);font-weight:700;white-space:nowrap}
.legend{display:flex;gap:6px 18px;flex-wrap:wrap;font-size:13px;color:var(--soft);margin:4px 0 0}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.legend i.stroke{height:3px;border-radius:2px;vertical-align:4px;background:var(--soft)}
.legend i.stroke.thin{opacity:.5}
svg{display:block;width:100%;height:auto;margin:6px 0 2px}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--ink)}
svg .tick,svg .faint{fill:var(--soft);font-size:11px}svg .label{font-size:13px}
svg .figure{font-weight:600;font-size:12.5px}svg .inside{fill:var(--on);font-size:11px;font-weight:600}
.grid{stroke:var(--grid)}.axis{stroke:var(--line)}
.phase{fill:var(--accent)}rect.phase{opacity:.42}.phase.user{fill:var(--user)}
.reign{fill:var(--accent)}
.step{fill:var(--accent)}.step.failed{fill:var(--bad)}.step.running{opacity:.55}.step.machine{fill:var(--user)}
.expected{fill:none;stroke:var(--soft);stroke-dasharray:3 3}
.fault{stroke:var(--bad);stroke-dasharray:4 3}.mend{stroke:var(--good);stroke-dasharray:4 3}
svg .fault-name{fill:var(--bad);font-size:11px;font-weight:600}svg .mend-name{fill:var(--good);font-size:11px;font-weight:600}
.area{opacity:.8}.line{fill:none;stroke-width:2;stroke-linejoin:round}.line.thin{stroke-width:1.2;opacity:.6}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.area,.fill{fill:var(--c)}.line{stroke:var(--c)}i.c0,i.c1,i.c2,i.c3,i.c4,i.c5{background:var(--c)}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
code{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
dt{font-weight:600;margin-top:8px}dd{margin:0 0 4px;color:var(--soft)}
@media print{main{max-width:none;padding:0}section,.tile,svg,tr{break-inside:avoid}h2{break-after:avoid}
details>summary{display:none}.verdict{color:#000;background:none;border:2px solid}}
"#;
