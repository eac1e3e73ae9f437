// Draws the charts of the page and lets its legend choose the optimizers.

const specs = JSON.parse(document.getElementById("specs").textContent);
const boxes = [...document.querySelectorAll("#legend input")];
const buttons = [...document.querySelectorAll("#legend button")];
const tables = [...document.querySelectorAll("details.data")];

const drawn = Object.entries(specs).map(([name, spec]) =>
  vegaEmbed(document.getElementById(`chart-${name}`), spec, {
    actions: false,
    // Otherwise Vega would use eval, which the page's security policy forbids.
    ast: true,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  })
);

Promise.all(drawn).then((charts) => {
  const choosable = charts.map(({ view }) => view).filter((view) => "shown" in view.getState().signals);
  // Errors only, since Vega would warn about the empty extent of a chart without curves.
  choosable.forEach((view) => view.logLevel(1));
  const choose = () => {
    const shown = boxes.filter((box) => box.checked).map((box) => box.value);
    // Resized, since the labels of the axes may need more or less room now.
    return Promise.all(
      choosable.map((view) => {
        const { row_height: rowHeight } = view.getState().signals;
        if (rowHeight) view.height(rowHeight * Math.max(1, shown.length));
        return view.signal("shown", shown).resize().runAsync();
      })
    );
  };
  boxes.forEach((box) => box.addEventListener("change", choose));
  buttons.forEach((button) =>
    button.addEventListener("click", () => {
      const chosen = { first: (box) => box.defaultChecked, all: () => true, none: () => false }[button.value];
      boxes.forEach((box) => (box.checked = chosen(box)));
      choose();
    })
  );
  // A reloaded page keeps its ticks.
  return choose().then(() => document.documentElement.classList.add("drawn"));
});

// A tap shows what a pointer that hovers does; a finger is less exact.
const REACH = [0, -8, 8, -16, 16];
const markNear = ({ clientX: x, clientY: y }) => {
  for (const dy of REACH)
    for (const dx of REACH) {
      const found = document.elementFromPoint(x + dx, y + dy);
      if (found?.closest(".chart .role-mark")) return found;
    }
};
document.addEventListener("click", (event) => {
  const mark = event.target.closest(".chart") && markNear(event);
  const at = mark?.getBoundingClientRect();
  const place = at && { clientX: at.x + at.width / 2, clientY: at.y + at.height / 2 };
  if (mark) mark.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, ...place }));
  const tooltip = document.getElementById("vg-tooltip-element");
  if (!mark) tooltip?.classList.remove("visible");
  else if (tooltip?.getBoundingClientRect().x < 0) tooltip.style.left = "4px";
});

// Paper shows in tables what a screen shows under the pointer.
let closed = [];
addEventListener("beforeprint", () => {
  closed = tables.filter((table) => !table.open);
  closed.forEach((table) => (table.open = true));
});
addEventListener("afterprint", () => closed.forEach((table) => (table.open = false)));
