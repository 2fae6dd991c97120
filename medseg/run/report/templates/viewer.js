(function () {
  "use strict";
  var INSIDE = 1, EDGE = 2;
  var start = document.getElementById("start");
  var blocks = Array.prototype.slice.call(document.querySelectorAll("script.volume"));
  var viewer = null;
  function bytes(block) {
    var text = atob(block.textContent), found = new Uint8Array(text.length);
    for (var i = 0; i < text.length; i++) { found[i] = text.charCodeAt(i); }
    return found.buffer;
  }
  function rgb(colour) {
    return [1, 3, 5].map(function (at) { return parseInt(colour.substr(at, 2), 16); });
  }
  function table(colour, filled) {
    var c = rgb(colour);
    return {
      R: [0, c[0], c[0]], G: [0, c[1], c[1]], B: [0, c[2], c[2]],
      A: [0, filled ? 90 : 0, 255], I: [0, INSIDE, EDGE], labels: ["", "inside", "edge"]
    };
  }
  function painted() {
    var filled = document.getElementById("filled").checked;
    blocks.forEach(function (block, place) {
      if (block.dataset.kind !== "scan") {
        viewer.volumes[place].setColormapLabel(table(block.dataset.colour, filled));
      }
    });
    viewer.updateGLVolume();
  }
  function trouble(error) {
    var place = document.getElementById("trouble");
    place.hidden = false;
    place.textContent = "The viewer could not be opened (" + error.message +
      "); the pictures above show the same.";
  }
  async function open() {
    start.disabled = true;
    document.querySelector(".stage").hidden = false;
    viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1], isColorbar: false, logLevel: "error", dragAndDropEnabled: false,
      crosshairWidth: 0.25, crosshairWidthUnit: "percent", crosshairColor: [1, 1, 1, 0.5],
      fontColor: [1, 1, 1, 1], showAllOrientationMarkers: true, sagittalNoseLeft: true,
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER
    });
    await viewer.attachTo("canvas");
    viewer.setRadiologicalConvention(true);
    viewer.setInterpolation(false);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    for (var place = 0; place < blocks.length; place++) {
      var block = blocks[place], scan = block.dataset.kind === "scan";
      var options = { name: block.dataset.kind + ".nii.gz", colormap: "gray", opacity: 1 };
      if (scan) { options.cal_min = 0; options.cal_max = 255; }
      viewer.addVolume(await niivue.NVImage.loadFromUrl(
        Object.assign({ url: bytes(block) }, options)));
    }
    painted();
    document.body.dataset.viewer = "open";
    start.hidden = true;
  }
  start.addEventListener("click", function () { open().catch(trouble); });
  if (location.hash === "#viewer-open") { open().catch(trouble); }
  document.getElementById("filled").addEventListener("change", function () {
    if (viewer) { painted(); }
  });
  document.querySelectorAll("[data-volume]").forEach(function (box) {
    box.addEventListener("change", function () {
      if (viewer) { viewer.setOpacity(Number(box.dataset.volume), box.checked ? 1 : 0); }
    });
  });
})();
