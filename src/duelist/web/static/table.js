// Fill a table with rows of cells: {text, head, number, words} or {action, label, run}. The button that has the focus
// keeps it when the table is drawn again.

export function table(element, heads, rows, cells, empty = "Nothing yet.") {
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const head = element.createTHead();
  const drawn = rows.map((row) => line(cells(row)));
  const titles = line(heads.map((text) => ({ text, head: true, scope: "col" })));
  if (rows.length) alignAs(titles, drawn[0]);
  head.replaceChildren(titles);
  const body = element.tBodies[0] ?? element.createTBody();
  if (drawn.length === 0) {
    const none = line([{ text: empty }]);
    none.firstChild.colSpan = heads.length;
    drawn.push(none);
  }
  body.replaceChildren(...drawn);
  if (focused) [...element.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
}

function alignAs(titles, row) {
  [...titles.cells].forEach((cell, i) => cell.classList.toggle("number", row.cells[i].classList.contains("number")));
}

function line(cells) {
  const row = document.createElement("tr");
  for (const cell of cells) {
    const head = cell.head && cell.text !== "";
    const element = document.createElement(head ? "th" : "td");
    if (head) element.scope = cell.scope ?? "row";
    element.classList.toggle("number", Boolean(cell.number));
    element.classList.toggle("words", Boolean(cell.words));
    if (cell.action) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = cell.action;
      button.setAttribute("aria-label", cell.label);
      button.addEventListener("click", cell.run);
      element.append(button);
    } else {
      const text = document.createElement("bdi");
      text.textContent = cell.text;
      element.append(text);
    }
    row.append(element);
  }
  return row;
}
