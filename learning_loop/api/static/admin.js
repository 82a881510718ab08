/* What the pages do by themselves: stay up to date, draw charts, ask before what cannot be undone. All else is plain HTML. */
"use strict";

const theme = () => document.documentElement.dataset.theme || localStorage.getItem("theme");
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");

function colours() {
  const style = getComputedStyle(document.body);
  const probe = document.createElement("span");
  document.body.append(probe);
  const of = (name) => { probe.className = name; return getComputedStyle(probe).color; };
  const [ink, faint, accent] = [style.color, of("faint"), of("accent")];
  probe.remove();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? theme() !== "light" : theme() === "dark";
  const axis = { labelColor: faint, titleColor: faint, gridColor: dark ? "#333a46" : "#e4e8ee", domainColor: faint, tickColor: faint };
  return {
    background: "transparent", font: style.fontFamily, axis, view: { stroke: null },
    legend: { labelColor: ink, titleColor: faint, orient: "bottom", labelLimit: 240, columns: innerWidth < 600 ? 3 : 0 },
    mark: { color: dark ? "#7db8ea" : "#2f6f9f" },
    rule: { color: dark ? "#a3adbb" : "#596273" },
    range: { category: dark ? ["#7db8ea", "#f2a08f", "#7fd29d", "#e9c46a", "#c3b1e8", "#b9c0ca"] : ["#2f6f9f", "#c4532f", "#3f8657", "#9a7400", "#7159a6", "#6b7686"] },
  };
}

async function draw(figure) {
  const source = figure.querySelector("script[type='application/json']").textContent;
  const place = figure.querySelector(".chart");
  const key = source + (theme() || "");
  if (place.dataset.drawn === key) return;
  place.dataset.drawn = key;
  const spec = JSON.parse(source);
  spec.config = colours();
  await vegaEmbed(place, spec, { actions: false, ast: true, renderer: "canvas", defaultStyle: false, tooltip: { disableDefaultStyle: true } });
  place.querySelectorAll("canvas").forEach((canvas) => canvas.setAttribute("aria-hidden", "true"));
}

function drawAll(anew) {
  if (typeof vegaEmbed === "undefined") return;
  document.querySelectorAll("figure[data-chart]").forEach((figure) => {
    if (anew) delete figure.querySelector(".chart").dataset.drawn;
    draw(figure).catch((error) => { figure.querySelector(".chart").textContent = "This chart cannot be drawn: " + error.message; });
  });
}

function changed(field) {
  if (field.matches("select")) return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
  return field.value !== field.defaultValue || field.checked !== field.defaultChecked;
}

/* Put what is new in its place; what a person is at, a field or an open fold, stays. */
function take(fresh) {
  fresh.querySelectorAll("[data-live]").forEach((now) => {
    const old = document.getElementById(now.id);
    if (!old || old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
    if ([...old.querySelectorAll("input, textarea, select")].some(changed)) return;
    const open = [...old.querySelectorAll("details[open]")].map((item) => item.id);
    open.forEach((id) => { const item = id && now.querySelector("#" + CSS.escape(id)); if (item) item.open = true; });
    if (old.dataset.source === now.innerHTML) return;
    const before = now.innerHTML;
    old.querySelectorAll("figure[data-chart]").forEach((figure) => {
      const same = [...now.querySelectorAll("figure[data-chart]")].find((other) => other.dataset.chart === figure.dataset.chart);
      if (same && same.querySelector("script").textContent === figure.querySelector("script").textContent) same.replaceWith(figure);
    });
    const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
    old.replaceChildren(...now.childNodes);
    old.dataset.source = before;
    if (focused) document.getElementById(focused)?.focus();
  });
  drawAll();
}

let waiting = null;
let last = 0;
let again = false;
async function refresh() {
  if (document.hidden) return;
  last = Date.now();
  const from = document.querySelector("[data-from]")?.dataset.from;  // of a form refused, whose own address takes nothing but forms
  const answer = await fetch(from || location.href, { headers: { "X-Live": "1" } });
  if (answer.status >= 500 || answer.status === 429) throw new Error(answer.statusText);
  const text = await answer.text();
  if (!answer.ok || answer.redirected) return;
  while (document.querySelector("[data-live] :active")) await new Promise((go) => setTimeout(go, 100));  // a button let go of is pressed
  const fresh = new DOMParser().parseFromString(text, "text/html");
  document.body.dataset.state = fresh.body.dataset.state;
  take(fresh);
}
function soon() {  // one at a time: what is asked for meanwhile comes after
  again = waiting !== null;
  if (again) return;
  waiting = setTimeout(async () => {
    again = false;
    try { await refresh(); } catch { setTimeout(soon, 3000); }
    waiting = null;
    if (again) soon();
  }, Math.max(0, 1500 - (Date.now() - last)));
}

function listen() {
  const state = document.querySelector(".live");
  if (!state) return;
  const events = new EventSource("/api/v1/events");
  events.addEventListener("change", (event) => { if (event.lastEventId !== document.body.dataset.state) soon(); });
  events.onopen = () => { state.dataset.state = "live"; state.textContent = "live"; };
  events.onerror = () => { state.dataset.state = "lost"; state.textContent = "not connected"; };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
}

document.addEventListener("submit", (event) => {
  const asks = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (asks && !confirm(asks)) { event.preventDefault(); return; }
  if (event.target.method === "post") setTimeout(() => event.target.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
});
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const dark = theme() ? theme() === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  drawAll(true);
});
window.addEventListener("beforeunload", (event) => {
  const text = document.querySelector("textarea[data-keep]");
  if (text && text.value !== text.defaultValue && !text.form.dataset.sent) event.preventDefault();
});
document.addEventListener("submit", (event) => { event.target.dataset.sent = "1"; });
document.querySelectorAll("[data-live]").forEach((part) => { part.dataset.source = part.innerHTML; });
drawAll();
listen();
