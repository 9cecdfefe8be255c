// The parts of Apache ECharts that the page uses. To build echarts.min.js from them:
//   npm install echarts@6.1.0 esbuild@0.28.2
//   npx esbuild echarts_parts.js --bundle --minify --format=iife --global-name=echarts \
//     --target=es2020 --legal-comments=none --outfile=echarts.min.js
import { use, init } from "echarts/core";
import { CustomChart, LineChart, ParallelChart, ScatterChart } from "echarts/charts";
import { AriaComponent, DataZoomComponent, GridComponent, MarkLineComponent, ParallelComponent, TooltipComponent, VisualMapComponent } from "echarts/components";
import { SVGRenderer } from "echarts/renderers";
use([CustomChart, LineChart, ParallelChart, ScatterChart, AriaComponent, DataZoomComponent, GridComponent, MarkLineComponent, ParallelComponent, TooltipComponent, VisualMapComponent, SVGRenderer]);
export { init };
