// Draws the charts of the page and lets its legend choose the optimizers.

const specs = JSON.parse(document.getElementById("specs").textContent);
const boxes = [...document.querySelectorAll("#legend input")];

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
    return Promise.all(choosable.map((view) => view.signal("shown", shown).resize().runAsync()));
  };
  boxes.forEach((box) => box.addEventListener("change", choose));
  // A reloaded page keeps its ticks.
  return choose().then(() => document.documentElement.classList.add("drawn"));
});
