(function () {
  "use strict";
  function key(row, column) {
    var cell = row.cells[column];
    var said = cell.dataset.key === undefined ? cell.textContent.trim() : cell.dataset.key;
    var value = Number(said.replace(/^< /, ""));
    return said === "" || said === "–" ? null : isNaN(value) ? said.toLowerCase() : value;
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  function sort(table, heading) {
    var column = heading.cellIndex;
    var falling = heading.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach(function (one) { one.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row) {
      return { row: row, key: key(row, column) };
    });
    rows.sort(function (a, b) {
      if (a.key === null || b.key === null) { return (a.key === null) - (b.key === null); }
      return falling ? compare(b.key, a.key) : compare(a.key, b.key);
    });
    rows.forEach(function (one) { body.appendChild(one.row); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("th button").forEach(function (button) {
      button.addEventListener("click", function () { sort(table, button.parentElement); });
    });
  });
  document.querySelectorAll("[data-layer]").forEach(function (box) {
    box.addEventListener("change", function () {
      document.querySelectorAll("path.layer." + box.dataset.layer).forEach(function (path) {
        path.setAttribute("visibility", box.checked ? "visible" : "hidden");
      });
    });
  });
  var find = document.getElementById("find");
  if (find) {
    find.addEventListener("input", function () {
      var wanted = find.value.toLowerCase(), shown = 0;
      var rows = document.querySelectorAll("table.cohort tbody tr");
      rows.forEach(function (row) {
        var there = row.cells[1].textContent.toLowerCase().indexOf(wanted) >= 0;
        row.hidden = !there;
        shown += there ? 1 : 0;
      });
      document.getElementById("count").textContent =
        wanted ? shown + " of " + rows.length : "";
    });
  }
})();
